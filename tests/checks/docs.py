#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""Holds what the documents say of the tree to the tree: usage: docs.py SOURCE_TREE

Every path in backquotes or in a link of a document exists. Where a function or type stands behind a path, in
parentheses and backquotes (`src/map/map.c` (`gm_map_new`)), that file has it.
"""
import pathlib
import re
import sys
import tempfile

DOCUMENTS = ["ARCHITECTURE.md", "README.md", "docs/concurrency.md", "docs/machine.md", "docs/speed.md"]
# The tree's own top folders: what else looks like a path is an example.
PATH = r"(?:include|src|adapters|devices|tools|examples|tests|bench|docs|scripts)/[\w./-]+"


def problems_of(tree, document):
    path = tree / document
    text = path.read_text()
    for place in re.findall(rf"`({PATH})`", text):
        if not (tree / place).exists():
            yield f"{document}: there is no {place}"
    for place in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not (path.parent / place).exists():
            yield f"{document}: a link leads to {place}, which is not there"
    for place, symbols in re.findall(rf"`({PATH})` \(((?:`\w+`(?:, )?(?:and )?)+)", text):
        if not (tree / place).is_file():
            continue
        for symbol in re.findall(r"`(\w+)`", symbols):
            if not re.search(rf"\b{symbol}\b", (tree / place).read_text()):
                yield f"{document}: {place} does not have {symbol}"


def self_test():
    """A document with one mistake of each kind is found out."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "src").mkdir()
        (scratch / "src/a.c").write_text("int here;\n")
        (scratch / "D.md").write_text("`src/b.c` [x](y.md) `src/a.c` (`gone`) `src/a.c` (`here`)\n")
        found = list(problems_of(scratch, "D.md"))
        assert len(found) == 3, found


def main():
    tree = pathlib.Path(sys.argv[1])
    self_test()
    problems = [problem for document in DOCUMENTS for problem in problems_of(tree, document)]
    print("\n".join(problems) or f"{len(DOCUMENTS)} documents agree with the tree")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
