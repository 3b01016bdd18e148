# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""What the compile checks share: the compilers of this machine, and one call that compiles a text."""
import os
import shutil
import subprocess
import sys

SKIPPED = 77  # meson's exit code for it

# As far as assembly: gcc notices a dropped result only behind its parser.
PEDANTIC = ['-Wall', '-Wextra', '-Wpedantic', '-Werror', '-S', '-o', os.devnull]

# (command, language, standard)
CANDIDATES = [
    ('gcc', 'c', 'c11'),
    ('clang', 'c', 'c11'),
    ('g++', 'c++', 'c++17'),
    ('clang++', 'c++', 'c++17'),
]


class Compiler:
    def __init__(self, command, language, standard, include):
        self.command, self.language, self.standard = command, language, standard
        self.arguments = [command, '-x', language, '-std=' + standard, '-I', include] + PEDANTIC + ['-']
        self.name = '%s -std=%s' % (command, standard)

    def run(self, text):
        """Compiles @text: whether it compiles, and what was said."""
        # Diagnostics are compared, so they must not be translated.
        environment = dict(os.environ, LC_ALL='C')
        done = subprocess.run(self.arguments, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, env=environment, check=False)
        return done.returncode == 0, done.stdout


def compilers(root):
    """Those that are here and work; ends the test as skipped when there is none."""
    found = []
    for command, language, standard in CANDIDATES:
        if shutil.which(command) is None:
            continue
        compiler = Compiler(command, language, standard, os.path.join(root, 'include'))
        good, said = compiler.run('#include <stdint.h>\nint here;\n')
        if not good:
            print('left out, does not work: %s\n%s' % (compiler.name, said))
            continue
        if compiler.run('int here = nowhere;\n')[0]:
            sys.exit('%s takes anything' % compiler.name)
        found.append(compiler)
    if not found:
        print('no compiler by the name of ' + ', '.join(c[0] for c in CANDIDATES))
        sys.exit(SKIPPED)
    print('with ' + ', '.join(c.name for c in found))
    return found
