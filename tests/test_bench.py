#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
The benchmark: every name that our workers know is measured, once and shortly; and what bench.py makes of figures, with workers
that answer what is expected of them. Nothing here looks at how long anything took.

usage: test_bench.py BENCH.PY OURS RAW
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.dom.minidom

BENCH, OURS, RAW = sys.argv[1:4]

# Answers the same figures over and over, or what is no figure.
FAKE = """#!/usr/bin/env python3
import sys
figures = {figures}
asked = dict()
for line in sys.stdin:
    words = line.split()
    if words == ['list']:
        print(' '.join(figures), flush=True)
    else:
        name = words[1]
        asked[name] = asked.get(name, 0) + 1
        answers = figures[name]
        print(answers[(asked[name] - 1) % len(answers)], flush=True)
"""


def run(out, *arguments, workers):
    """(exit status, standard output, standard error, what the two JSON files say together, or None)"""
    command = [sys.executable, '-B', BENCH, '--out', str(out)]
    for name, path in workers.items():
        command += ['--worker', '%s=%s' % (name, path)]
    done = subprocess.run(command + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)
    document = None
    if (out / 'bench.json').exists():
        document = {**json.loads((out / 'bench-run.json').read_text()), 'results': json.loads((out / 'bench.json').read_text())}
    return done.returncode, done.stdout, done.stderr, document


def make_fake(folder, name, figures):
    path = folder / name
    path.write_text(FAKE.format(figures=repr(figures)))
    os.chmod(path, 0o755)
    return path


def ask(worker, *requests):
    done = subprocess.run([worker, '--short'], input='\n'.join(requests) + '\n', stdout=subprocess.PIPE, text=True, timeout=100)
    return done.returncode, done.stdout.splitlines()


def test_workers_answer():
    for worker in [OURS, RAW]:
        status, lines = ask(worker, 'list', 'time load/1', 'time load/1', 'time no_such', 'time load/x', 'time load/-8', 'time load/8/',
                            'time load', 'nonsense')
        assert status == 0 and len(lines) == 9, lines
        assert 'load/1' in lines[0].split() and len(set(lines[0].split())) == len(lines[0].split()), lines[0]
        assert float(lines[1]) > 0 and float(lines[2]) > 0, lines
        assert all(line.startswith('error ') for line in lines[3:7] + lines[8:]), lines
        assert float(lines[7]) > 0, lines
        # What can't be set up ends the program: nothing may be left half done.
        for name in ['load_scattered/0', 'load_scattered/262145', 'load_scattered/8/odd']:
            status, lines = ask(worker, 'time ' + name)
            assert status == 1 and len(lines) == 1 and lines[0].startswith('error '), (name, lines)


def test_every_name(out):
    status, said, trouble, document = run(out, '--short', '--repetitions', '1', workers={'ours': OURS, 'raw': RAW})
    assert status == 0, trouble
    assert document['failures'] == []
    results = {result['name']: result for result in document['results']}
    # What the table has and what the worker knows are the same names.
    assert set(results) == set(ask(OURS, 'list')[1][0].split())
    assert set(ask(RAW, 'list')[1][0].split()) < set(results)
    assert {result['row'] for result in results.values()} == {None, *range(1, 20)}
    for result in results.values():
        assert result['ours_ns'] > 0 and result['ours_median_ns'] > 0, result
        assert result['row'] is None or result['name'] in said, result
    assert results['load/1']['raw_ns'] > 0 and results['find/4096']['raw_ns'] is None
    assert results['load/1']['peer_is_quoted'] and 'quoted' in results['load/1']['peer']
    pictures = sorted(path.name for path in out.glob('*.svg'))
    assert pictures == ['bench-collect.svg', 'bench-lookup.svg', 'bench-update.svg'], pictures
    for picture in pictures:
        document = xml.dom.minidom.parse(str(out / picture))
        assert len(document.getElementsByTagName('polyline')) == (3 if 'lookup' in picture else 1), picture
    check_document(results.values())


def check_document(results):
    """docs/speed.md tells of every row, under its number."""
    text = (pathlib.Path(BENCH).parent.parent / 'docs/speed.md').read_text()
    lines = [line.split('|') for line in text.splitlines() if line.startswith('| ') and '`' in line]
    told = {(number.strip(), name.strip().strip('`/').split('/')[0]) for _, number, name, *_ in lines}
    for result in results:
        base = result['name'].split('/')[0]
        if result['row'] is not None:
            assert any(str(result['row']) in number.split(', ') and base == name for number, name in told), result['name']
        else:
            assert any(base == name for _, name in told), result['name']


def test_figures(folder, out):
    """Minimum, median, ratios, the better of two peers, and missed aims, of 3 repetitions."""
    workers = {
        'ours': make_fake(folder, 'ours', {'load/1': [9.0, 1.0, 2.0], 'find/4096': [10.0, 9.0, 30.0], 'mark_1g': [5.0]}),
        'ours_lto': make_fake(folder, 'lto', {'load/1': [0.75]}),
        'raw': make_fake(folder, 'raw', {'load/1': [0.5]}),
        'vm-memory': make_fake(folder, 'vm', {'load/1': [6.0, 4.0, 5.0], 'find/4096': [90.0]}),
        'dpdk': make_fake(folder, 'dpdk', {'load/1': [8.0], 'find/4096': [18.0]}),
    }
    status, said, trouble, document = run(out, '--repetitions', '3', 'load/1', 'find/4096', 'mark_1g', workers=workers)
    assert status == 0, trouble
    load, find, mark = [next(result for result in document['results'] if result['name'] == name)
                        for name in ['load/1', 'find/4096', 'mark_1g']]
    expected = {'row': 1, 'ours_ns': 1.0, 'ours_median_ns': 2.0, 'ours_lto_ns': 0.75, 'peer': 'vm-memory', 'peer_ns': 4.0,
                'peer_median_ns': 5.0, 'raw_ns': 0.5, 'aim_ns': 1.3, 'ours_to_peer': 0.25, 'ours_to_raw': 2.0,
                'aim_missed': False, 'peer_is_quoted': False}
    assert {key: load[key] for key in expected} == expected, load
    assert (find['peer'], find['peer_ns'], find['ours_to_peer'], find['aim_missed']) == ('dpdk', 18.0, 0.5, True), find
    assert set(find['peers']) == {'vm-memory', 'dpdk'}
    assert mark['peer_is_quoted'] and mark['peer_ns'] == 559000 and mark['aim_missed'] is False, mark
    assert said.count('MISSED') == 1 and '2 of 3 aims reached' in said, said


def test_variants(folder, out):
    """Each against its regular row and that row's best peer; what that peer has not measured is not compared."""
    regular, irregular, hostile = 'load_scattered/8', 'load_scattered/8/irregular', 'load_scattered/8/hostile'
    workers = {
        'ours': make_fake(folder, 'ours', {regular: [2.0], irregular: [5.0], hostile: [2.4], 'find/4096/hostile': [9.0]}),
        'vm-memory': make_fake(folder, 'vm', {regular: [4.0], irregular: [8.0], hostile: [4.0], 'find/4096/hostile': [1.0]}),
        'dpdk': make_fake(folder, 'dpdk', {regular: [16.0], irregular: [1.0]}),
    }
    status, said, trouble, document = run(out, regular, irregular, hostile, 'find/4096/hostile', workers=workers)
    assert status == 0, trouble
    found = [(variant['name'], variant['peer'], round(variant['change'], 6), variant['too_much']) for variant in document['variants']]
    assert found == [(irregular, 'vm-memory', 1.25, False), (hostile, 'vm-memory', 1.2, False)], found
    assert [(variant['ours_change'], variant['peer_change']) for variant in document['variants']] == [(2.5, 2.0), (1.2, 1.0)], document['variants']
    assert '2 of 2 within' in said and 'TOO MUCH' not in said, said
    workers['ours'] = make_fake(folder, 'ours', {regular: [2.0], irregular: [5.1], hostile: [2.4]})
    _, said, _, document = run(out, regular, irregular, hostile, workers=workers)
    assert [variant['too_much'] for variant in document['variants']] == [True, False], document['variants']
    assert '1 of 2 within' in said and said.count('TOO MUCH') == 1, said


def test_scale(folder, out):
    """Comes after all else, where all is measured; its failure is one of the benchmark's."""
    folder.mkdir()
    make_fake(folder, 'ours', {'load/1': [1.0]})
    make_fake(folder, 'raw', {'load/1': [1.0]})
    for code, expected in [(0, 'written: %s' % (out / 'bench-histogram.svg')), (3, 'scale: ended with status 3')]:
        (folder / 'scale').write_text('#!/bin/sh\necho "told $*"\nexit %d\n' % code)
        os.chmod(folder / 'scale', 0o755)
        command = [sys.executable, '-B', BENCH, '--quick', '--out', str(out), '--folder', str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)
        assert done.returncode == 1 and 'does not know mark_1g' in done.stderr, done.stderr
        assert 'told --json %s --svg' % (out / 'bench-scale.json') in done.stdout, done.stdout
        assert expected in done.stdout + done.stderr, (expected, done.stdout, done.stderr)
        done = subprocess.run(command + ['load/1'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)
        assert done.returncode == 0 and 'told' not in done.stdout, done.stdout


def test_failures(folder, out):
    good = make_fake(folder, 'good', {'load/1': [1.0]})
    for name, figures in [('error', {'load/1': ['error no memory']}), ('empty', {'load/1': ['']})]:
        status, _, trouble, document = run(out, 'load/1', workers={'ours': good, 'raw': make_fake(folder, name, figures)})
        assert status == 1 and 'raw: load/1' in trouble, trouble
        assert len(document['failures']) == 1 and document['results'][0]['ours_ns'] == 1.0
        assert document['results'][0]['raw_ns'] is None
    # Repetitions that do not count.
    for answers, expected in [(['nan', '3.0'], 3.0), (['nan'], None)]:
        odd = make_fake(folder, 'odd', {'enter_leave_busy': answers})
        status, said, trouble, document = run(out, '--repetitions', '4', 'enter_leave_busy', workers={'ours': odd})
        assert status == 0 and document['results'][0]['ours_ns'] == expected, (trouble, document)
        assert 'enter_leave_busy' in said and document['results'][0]['aim_missed'] is (expected == 3.0), said
    # A worker that ends, one that is not there, and one that does not know a name of the table.
    dead = folder / 'dead'
    dead.write_text('#!/bin/sh\nread line\necho load/1\nread line\nexit 3\n')
    os.chmod(dead, 0o755)
    status, _, trouble, _ = run(out, 'load/1', workers={'ours': dead})
    assert status == 1 and 'ended with status 3' in trouble, trouble
    status, _, trouble, _ = run(out, 'load/1', workers={'ours': folder / 'absent'})
    assert status == 1 and 'absent' in trouble, trouble
    status, _, trouble, _ = run(out, 'mark_1g', workers={'ours': good})
    assert status == 1 and 'does not know mark_1g' in trouble, trouble
    for arguments in [['no_such_name'], ['--repetitions', '0', 'load/1'], ['--no-such-option']]:
        assert run(out, *arguments, workers={'ours': good})[0] == 2, arguments


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        test_workers_answer()
        test_every_name(folder / 'all')
        test_figures(folder, folder / 'figures')
        test_variants(folder, folder / 'variants')
        test_scale(folder / 'programs', folder / 'scale')
        test_failures(folder, folder / 'failures')


main()
