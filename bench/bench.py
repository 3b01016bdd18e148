#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Measures the library against other libraries and against the floor, and says so in a table, in bench.json (a list, an
object for each name; what holds of the whole run is in bench-run.json), and in pictures.

Each worker is a program that times one repetition of a name when it is asked to (worker.h). They are asked in turn, many times
over: whatever disturbs the machine for a while disturbs all of them. The minimum is what the code costs; the median, against
it, tells how quiet the machine was. All workers run on one CPU; only the second thread, of rows that have one, keeps off it.

Exit status: 0 when all was measured, whatever the figures are; 1 when a worker failed; 2 for wrong usage.
"""
import argparse
import fnmatch
import json
import math
import os
import pathlib
import platform
import select
import statistics
import subprocess
import sys

# No __pycache__ in the source tree.
sys.dont_write_bytecode = True
import pictures  # noqa: E402
import rows  # noqa: E402

# Programs, in the order in which they take turns: what they are called in the results, and whether they are ours.
OURS = ['ours', 'ours_lto', 'raw']
PEERS = ['vm-memory', 'dpdk']
ANSWER_TIMEOUT_S = 600
# Kinds of a row that shall cost as little, against the peer, as the regular one: at most so many times as much.
VARIANTS = ['irregular', 'hostile']
VARIANT_MOST = 1.25


class WorkerError(Exception):
    pass


class Worker:
    """A program that answers. It is started anew after it ended."""

    def __init__(self, name, path, options, cpu):
        self.name = name
        self.command = [str(path)] + options
        self.cpu = cpu
        self.process = None
        self.pending = b''
        self.names = set(self.ask('list').split())

    def start(self):
        def pin():
            if self.cpu is not None:
                os.sched_setaffinity(0, {self.cpu})

        self.pending = b''
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=pin)

    def read_line(self):
        while b'\n' not in self.pending:
            if not select.select([self.process.stdout], [], [], ANSWER_TIMEOUT_S)[0]:
                self.process.kill()
                raise WorkerError('no answer within %d seconds' % ANSWER_TIMEOUT_S)
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise WorkerError('ended with status %d' % self.process.wait())
            self.pending += data
        line, self.pending = self.pending.split(b'\n', 1)
        return line.decode()

    def ask(self, request):
        try:
            if self.process is None:
                self.start()
            self.process.stdin.write(request.encode() + b'\n')
            self.process.stdin.flush()
            return self.read_line()
        except (OSError, WorkerError) as error:
            self.stop()
            raise WorkerError('%s: %s: %s' % (self.name, request, error)) from None

    def time(self, name):
        answer = self.ask('time ' + name)
        try:
            return float(answer)
        except ValueError:
            self.stop()
            raise WorkerError('%s: %s: %s' % (self.name, name, answer)) from None

    def stop(self):
        if self.process is None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process = None


def measure(name, workers, repetitions):
    """Asks all that know the name in turn. Returns (samples by worker, complaints)."""
    samples, complaints = {}, []
    asked = [worker for worker in workers if name in worker.names]
    for _ in range(repetitions):
        for worker in list(asked):
            try:
                took = worker.time(name)
                if not math.isnan(took):
                    samples.setdefault(worker.name, []).append(took)
            except WorkerError as error:
                complaints.append(str(error))
                samples.pop(worker.name, None)
                asked.remove(worker)
    return samples, complaints


def ratio(ours, other):
    return ours / other if ours and other else None


def result_of(row, samples):
    """What bench.json says of one name."""
    def least(program):
        return min(samples[program]) if program in samples else None

    def middle(program):
        return statistics.median(samples[program]) if program in samples else None

    measured = [peer for peer in PEERS if peer in samples]
    peer = min(measured, key=least) if measured else row.version and row.version + ', quoted'
    ours, raw = least('ours'), least('raw')
    peer_ns = least(peer) if measured else row.quoted
    return {
        'row': row.number,
        'name': row.name,
        'ours_ns': ours,
        'ours_median_ns': middle('ours'),
        'ours_lto_ns': least('ours_lto'),
        'ours_lto_median_ns': middle('ours_lto'),
        'peer': peer,
        'peer_ns': peer_ns,
        'peer_median_ns': middle(peer) if measured else None,
        'peer_is_quoted': bool(peer) and not measured,
        'peers': {name: {'ns': least(name), 'median_ns': middle(name)} for name in measured},
        'raw_ns': raw,
        'raw_median_ns': middle('raw'),
        'aim_ns': row.aim,
        'ours_to_peer': ratio(ours, peer_ns),
        'ours_to_raw': ratio(ours, raw),
        'ours_to_aim': ratio(ours, row.aim),
        'aim_missed': bool(ours and row.aim and ours > row.aim),
    }


def figure(value):
    if value is None:
        return '-'
    if value < 100:
        return '%.2f' % value
    return '{:,.0f}'.format(value).replace(',', ' ')


def times(value):
    return '-' if value is None else '%.2f' % value


def compare_variants(results):
    """
    What irregular maps and hostile addresses change: of each, its ratio to the peer against that of its regular row, and both to
    the same peer, whichever is the best at the regular one.
    """
    by_name = {result['name']: result for result in results}
    for result in results:
        name, _, variant = result['name'].rpartition('/')
        regular = by_name.get(name)
        if variant not in VARIANTS or not regular or regular['peer'] not in result['peers']:
            continue
        was = regular['ours_to_peer']
        now = ratio(result['ours_ns'], result['peers'][regular['peer']]['ns'])
        if was and now:
            # A ratio changes with ours, or with the peer, which may gain by what costs us nothing.
            ours = ratio(result['ours_ns'], regular['ours_ns'])
            yield {'name': result['name'], 'peer': regular['peer'], 'regular_ours_to_peer': was, 'ours_to_peer': now, 'change': now / was,
                   'ours_change': ours, 'peer_change': ours / (now / was), 'too_much': now / was > VARIANT_MOST}


def variants_table(variants):
    lines = [['name', 'peer', 'ours/peer', 'regular', 'change', 'of ours', 'of its', '']]
    lines += [[variant['name'], variant['peer'], times(variant['ours_to_peer']), times(variant['regular_ours_to_peer']),
               times(variant['change']), times(variant['ours_change']), times(variant['peer_change']),
               'TOO MUCH' if variant['too_much'] else ''] for variant in variants]
    return align(lines, {0, 1, 7})


HEADINGS = ['row', 'name', 'ours', 'median', 'LTO', 'peer', 'its ns', 'median', 'raw', 'aim', 'ours/peer', 'ours/raw', 'ours/aim', '']


def table_of(results):
    lines = [HEADINGS]
    for result in results:
        lines.append([
            str(result['row'] or ''), result['name'], figure(result['ours_ns']), figure(result['ours_median_ns']),
            figure(result['ours_lto_ns']), result['peer'] or '-', figure(result['peer_ns']), figure(result['peer_median_ns']),
            figure(result['raw_ns']), figure(result['aim_ns']), times(result['ours_to_peer']), times(result['ours_to_raw']),
            times(result['ours_to_aim']), 'MISSED' if result['aim_missed'] else ''])
    return align(lines, {1, 5, 13})


def align(lines, left):
    """@left: columns of words."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield '  '.join(cell.ljust(width) if column in left else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(line, widths))).rstrip()


def machine():
    model = ''
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            model = next((line.split(':', 1)[1].strip() for line in file if line.startswith('model name')), '')
    except OSError:
        pass
    return {'cpu': model, 'cpus': os.cpu_count(), 'kernel': platform.release(), 'machine': platform.machine()}


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('only', nargs='*', metavar='NAME',
                        help='measure only these names; * and ? stand for any characters. "1" to "19": that row')
    parser.add_argument('--repetitions', type=int, default=25, metavar='N',
                        help='of each name and program (25); those for the pictures only have a third of that')
    parser.add_argument('--quick', action='store_true', help='3 repetitions, and no pictures: the figures are a first impression')
    parser.add_argument('--short', action='store_true',
                        help='our workers do each operation once: sees that all works, and measures nothing')
    parser.add_argument('--folder', type=pathlib.Path, default=pathlib.Path('build/bench'),
                        help='where the workers are (build/bench)')
    parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('build'),
                        help='where bench.json and bench-*.svg go (build)')
    parser.add_argument('--worker', action='append', default=[], metavar='NAME=PATH',
                        help='a worker in place of the one in the folder; NAME is one of ' + ', '.join(OURS + PEERS))
    options = parser.parse_args(arguments)
    if options.repetitions < 1:
        parser.error('at least one repetition')
    for worker in options.worker:
        if worker.split('=', 1)[0] not in OURS + PEERS or '=' not in worker:
            parser.error('no such worker: ' + worker)
    options.selected = select_rows(options)
    if not options.selected:
        parser.error('no such name: ' + ' '.join(options.only))
    return options


def select_rows(options):
    known = rows.ROWS + ([] if options.quick and not options.only else rows.curve_rows())
    if not options.only:
        return known
    return [row for row in known
            if any(word == str(row.number) or fnmatch.fnmatchcase(row.name, word) for word in options.only)]


def paths_of(options):
    """Name -> path of the workers that are there. With --worker, only those that it names."""
    if options.worker:
        return {name: pathlib.Path(path) for name, path in (worker.split('=', 1) for worker in options.worker)}
    paths = {name: options.folder / name.replace('_', '-') for name in OURS}
    if not paths['ours_lto'].exists():
        del paths['ours_lto']
        print('bench: no build with link-time optimization here', file=sys.stderr)
    for peer in PEERS:
        path = options.folder / 'peers' / peer
        if path.exists():
            paths[peer] = path
        else:
            print('bench: no %s here: its figures are quoted where they are known' % peer, file=sys.stderr)
    return paths


def open_workers(options, complaints):
    try:
        cpu = max(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        cpu = None
    workers = []
    for name, path in paths_of(options).items():
        try:
            workers.append(Worker(name, path, ['--short'] if options.short and name in OURS else [], cpu))
        except WorkerError as error:
            complaints.append(str(error))
    return workers


def measure_all(options, workers, complaints):
    results = []
    for number, row in enumerate(options.selected, 1):
        if sys.stderr.isatty():
            print('\r\033[K[%d/%d] %s' % (number, len(options.selected), row.name), end='', file=sys.stderr, flush=True)
        elif number % 10 == 1:
            print('[%d/%d] %s' % (number, len(options.selected), row.name), file=sys.stderr, flush=True)
        repetitions = 3 if options.quick else options.repetitions
        if not row.in_table:
            repetitions = max(1, repetitions // 3)
        samples, found = measure(row.name, workers, repetitions)
        complaints += found
        if not found and not any(worker.name == 'ours' and row.name in worker.names for worker in workers):
            complaints.append('ours: does not know ' + row.name)
        results.append(result_of(row, samples))
    if sys.stderr.isatty():
        print('\r\033[K', end='', file=sys.stderr)
    return results


def write_results(options, results, workers, complaints):
    options.out.mkdir(parents=True, exist_ok=True)
    paths = [options.out / 'bench.json', options.out / 'bench-run.json']
    peer = next((name for name in PEERS if any(worker.name == name for worker in workers)), None)
    run = {
        'machine': machine(),
        'repetitions': 3 if options.quick else options.repetitions,
        'programs': [worker.name for worker in workers],
        'failures': complaints,
        'variants': list(compare_variants(results)),
    }
    for path, document in zip(paths, [results, run]):
        path.write_text(json.dumps(document, indent=1) + '\n', encoding='utf-8')
    measured = {result['name']: {'ours': result['ours_ns'], 'raw': result['raw_ns'], 'peer': result['peers'].get(peer, {}).get('ns')}
                for result in results}
    return paths + pictures.write_all(options.out, measured, peer)


def run_scale(options, complaints):
    """Sections under many readers, and memory: a program of its own, which needs all CPUs. Part of a run of everything only."""
    program = options.folder / 'scale'
    if options.only or options.worker or options.short:
        return
    sys.stdout.flush()
    paths = [options.out / 'bench-scale.json', options.out / 'bench-histogram.svg']
    command = [str(program), '--json', str(paths[0]), '--svg', str(paths[1])]
    print(flush=True)
    try:
        status = subprocess.run(command + (['--seconds', '0.2'] if options.quick else []), check=False).returncode
    except OSError as error:
        complaints.append('scale: %s' % error)
        return
    if status:
        complaints.append('scale: ended with status %d' % status)
        return
    for path in paths:
        print('written: %s' % path)


def main(arguments):
    options = parse_arguments(arguments)
    complaints = []
    workers = open_workers(options, complaints)
    try:
        results = measure_all(options, workers, complaints)
    finally:
        for worker in workers:
            worker.stop()
    in_table = [result for result in results if result['row'] is not None]
    print('Nanoseconds per operation, least of all repetitions')
    print('\n'.join(table_of(in_table or results)))
    with_aim = [result for result in results if result['aim_ns'] and result['ours_ns']]
    if with_aim:
        missed = sum(result['aim_missed'] for result in with_aim)
        print('%d of %d aims reached' % (len(with_aim) - missed, len(with_aim)))
    variants = list(compare_variants(results))
    if variants:
        print('\nIrregular maps and hostile addresses: ratios to the peer, against the regular row; at most %.2f times as much' % VARIANT_MOST)
        print('\n'.join(variants_table(variants)))
        print('%d of %d within that\n' % (sum(not variant['too_much'] for variant in variants), len(variants)))
    for path in write_results(options, results, workers, complaints):
        print('written: %s' % path)
    run_scale(options, complaints)
    for complaint in complaints:
        print('bench: ' + complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
