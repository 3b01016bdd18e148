#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
bench/scale, run as short as it gets: loads find what stands where they look while everything changes, which the program checks
itself; the figures add up; the picture is well formed; and options that are none are refused. No figure is held to anything.

usage: test_scale.py PROGRAM
"""
import json
import os
import subprocess
import sys
import tempfile
import xml.dom.minidom

SHORT = ['--spaces', '8', '--threads', '4', '--regions', '16', '--seconds', '0.05', '--sections', '4000', '--memory-regions', '256',
         '--log-gib', '2']


def run(program, *arguments):
    return subprocess.run([program] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)


def check_run(name, found):
    busy = found['writer'] == 'busy'
    assert name.endswith(found['writer']), name
    assert found['readers'] == (4 if name.startswith('many') else 1), name
    assert found['sections'] >= 4000 and found['loads'] == 8 * found['sections'], name
    assert sum(found['octaves'].values()) == found['sections'], name
    assert (found['updates'] >= 8) == busy, name
    if not busy:
        assert found['holes'] == found['moved'] == found['refused'] == 0, name
    order = [found[key + '_ns'] for key in ('min', 'median', 'p99', 'p99_9', 'p99_99', 'max')]
    assert order == sorted(order), (name, order)


def check_figures(program, folder):
    figures, picture = os.path.join(folder, 'scale.json'), os.path.join(folder, 'scale.svg')
    done = run(program, '--json', figures, '--svg', picture, *SHORT)
    assert done.returncode == 0, done.stderr
    for word in ('writer', '99.99 %', 'longest', 'an old map that somebody holds', '1 % dirty, at random'):
        assert word in done.stdout, word
    with open(figures, encoding='utf-8') as file:
        said = json.load(file)
    for name, found in said['sections'].items():
        check_run(name, found)
    assert {'many_idle', 'many_busy'} <= set(said['sections'])
    assert said['memory']['regions'] == 256 and said['memory']['log_bytes'] == 2 << 30
    drawing = xml.dom.minidom.parse(picture)
    assert drawing.documentElement.tagName == 'svg' and len(drawing.getElementsByTagName('rect')) > 4


def check_options(program):
    parts = json.loads(run(program, '--json', '-', '--only', 'memory', *SHORT).stdout)
    assert set(parts) == {'memory'}, parts
    assert run(program, '--help').returncode == 0
    for bad in (['--spaces', '0'], ['--threads', '257'], ['--regions', '-1'], ['--seconds', 'x'], ['--only', 'x'], ['--nothing'], ['x']):
        done = run(program, *bad)
        assert done.returncode == 2 and done.stderr and not done.stdout, bad
    assert run(program, '--only', 'memory', '--json', '/nowhere/at/all', *SHORT).returncode == 1


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        check_figures(program, folder)
    check_options(program)


if __name__ == '__main__':
    main(sys.argv[1])
