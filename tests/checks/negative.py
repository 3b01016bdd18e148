#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
What must not compile: mixing up addresses, numbers and byte orders, and dropping a result that must be looked at.

Each snippet is the body of a function with one place, @, which is filled once with what is right and once with what is wrong.
The right one has to compile under the same flags, and the wrong one has to be refused with the message that belongs to it: so no
snippet can pass because of a typing mistake.
"""
import re
import sys

from compilers import compilers

PROLOGUE = '''
#include <guestmem/guestmem.h>
void snippet%d(struct gm_view *view, struct gm_gpa gpa, struct gm_iova iova, struct gm_offset offset, uint64_t number);
void snippet%d(struct gm_view *view, struct gm_gpa gpa, struct gm_iova iova, struct gm_offset offset, uint64_t number)
{
	(void)view, (void)gpa, (void)iova, (void)offset, (void)number;
	%s
}
'''

# What gcc and clang, for C and for C++, say of an argument or a value of the wrong type,
TYPE = (r'incompatible type|incompatible pointer type|to non-scalar type|incompatible with|invalid initializer|no matching function|could not convert|cannot convert|'
        r'no viable conversion|no known conversion|cannot initialize|with an expression of|no matching constructor|'
        r'no suitable')
# of an operator on a struct,
OPERATOR = r'invalid operands|no match for .operator'
# of a result that is dropped,
DROPPED = r'warn_unused_result|unused-result|ignoring return value'
# and of what was declared const.
CONST = r'discards .*qualifier|invalid conversion|discards qualifiers|read-only|const-qualified|drops .const|loses qualifier'

KEEP = 'int r = %s; (void)r;'

SNIPPETS = [
    # (body, right, [wrong, ...], what is said)
    (KEEP % 'gm_check(view, @, 1, GM_READ)', 'gpa', ['iova', 'offset', 'number', '0x1000'], TYPE),
    (KEEP % 'gm_write(view, @, &number, 8)', 'gpa', ['iova', 'offset', 'number'], TYPE),
    (KEEP % 'gm_load_u64(view, @, GM_RELAXED, &number)', 'gpa', ['iova', 'offset', 'number'], TYPE),
    (KEEP % 'gm_gpa_add(@, 1, &gpa)', 'gpa', ['iova', 'offset', 'number'], TYPE),
    (KEEP % 'gm_iova_add(@, 1, &iova)', 'iova', ['gpa', 'offset', 'number'], TYPE),
    (KEEP % 'gm_offset_add(@, 1, &offset)', 'offset', ['gpa', 'iova', 'number'], TYPE),
    (KEEP % 'gm_gpa_offset_from(gpa, @, &number)', 'gpa', ['iova', 'offset', 'number'], TYPE),
    (KEEP % 'gm_gpa_compare(gpa, @)', 'gpa', ['iova', 'offset', 'number'], TYPE),
    (KEEP % 'gm_range_make(@, 1, NULL)', 'gpa', ['iova', 'offset', 'number'], TYPE),
    ('struct gm_gpa other = @; (void)other;', 'gpa', ['iova', 'offset', 'number'], TYPE),
    ('struct gm_range range = { gpa, gpa }; range.last = @; (void)range;', 'gpa', ['iova', 'offset', 'number'], TYPE),
    ('uint64_t other = @; (void)other;', 'gpa.value', ['gpa', 'iova', 'offset'], TYPE),
    ('struct gm_gpa other = gm_gpa_add_wrapping(gpa, 1); other = @; (void)other;', 'gm_gpa(number)', ['number'], TYPE),
    ('bool before = @; (void)before;', 'gpa.value < number', ['gpa < gpa', 'gpa == gpa', 'gpa < number', 'gpa < iova'], OPERATOR),
    ('uint64_t sum = (@).value; (void)sum;', 'gm_gpa_add_wrapping(gpa, 1)', ['gpa + 1'], OPERATOR),
    ('struct gm_le32 le = gm_le32(1); uint32_t n = @; (void)n; (void)le;', 'gm_le32_get(le)', ['le'], TYPE),
    ('struct gm_le32 le = gm_le32(1); struct gm_be32 be = gm_be32(1); (void)be; le = @; (void)le;', 'gm_le32(2)', ['be', '1'],
     TYPE),
    ('struct gm_le32 le = gm_le32(1); struct gm_be32 be = gm_be32(1); (void)le; uint32_t n = gm_be32_get(@); (void)n, (void)be;',
     'be', ['le', 'gm_be16(1)', '1'], TYPE),
    ('struct gm_le64 le = gm_le64(1); gpa = gm_gpa_from_le64(@); (void)le;', 'le', ['gm_be64(1)', 'number'], TYPE),
    (KEEP % 'gm_store_le32(view, gpa, GM_RELEASE, @)', '1', ['gm_le32(1)'], TYPE),
    ('const struct gm_plan *plan = NULL; @pieces = NULL; if (plan) (void)gm_plan_pieces(plan, &pieces);',
     'const struct gm_piece *', ['struct gm_piece *'], TYPE + '|' + CONST),
    # Dropped results.
    ('@gm_gpa_add(gpa, 1, &gpa);', 'int r = ', [''], DROPPED),
    ('@gm_iova_sub(iova, 1, &iova);', 'int r = ', [''], DROPPED),
    ('@gm_offset_align_up(offset, 4096, &offset);', 'int r = ', [''], DROPPED),
    ('struct gm_range range; @gm_range_make(gpa, 1, &range);', 'int r = ', [''], DROPPED),
    ('struct gm_layout layout; @gm_layout_x86_64_pc(0, &layout);', 'int r = ', [''], DROPPED),
    ('struct gm_layout layout; gm_layout_open(&layout); @gm_layout_check(&layout, NULL);', 'int r = ', [''], DROPPED),
    ('@gm_plan_new(NULL, NULL, 0, NULL, NULL);', 'int r = ', [''], DROPPED),
    ('@gm_region_new(NULL, NULL, NULL);', 'int r = ', [''], DROPPED),
    ('@gm_map_new(NULL, NULL, 0, NULL, NULL);', 'int r = ', [''], DROPPED),
    ('@gm_space_new(NULL, NULL, NULL);', 'int r = ', [''], DROPPED),
    ('@gm_space_wait(NULL, 0);', 'int r = ', [''], DROPPED),
    ('@gm_read(view, gpa, &number, 8);', 'int r = ', [''], DROPPED),
    ('@gm_write(view, gpa, &number, 8);', 'int r = ', [''], DROPPED),
    ('@gm_read_some(view, gpa, &number, 8);', 'int64_t r = ', [''], DROPPED),
    ('@gm_load_le64(view, gpa, GM_ACQUIRE, &number);', 'int r = ', [''], DROPPED),
    ('@gm_store_u64(view, gpa, GM_RELEASE, 1);', 'int r = ', [''], DROPPED),
    ('@gm_fetch_or_u64(view, gpa, GM_SEQ_CST, 1, &number);', 'int r = ', [''], DROPPED),
    ('struct gm_span span; @gm_span(view, gpa, 1, GM_READ, &span);', 'int r = ', [''], DROPPED),
]


def body(snippet, filling):
    text = snippet.replace('@', filling)
    # Only a kept result has to be used, and only where it was kept.
    if re.search(r'\bint(64_t)? r = ', text) and '(void)r;' not in text:
        text += ' (void)r;'
    return text


def function(index, snippet, filling):
    return PROLOGUE % (index, index, body(snippet, filling))


def main(root):
    failures, count = [], 0

    for compiler in compilers(root):
        # All that is right in one go: each is a function of its own.
        right = ''.join(function(i, s[0], s[1]) for i, s in enumerate(SNIPPETS))
        good, said = compiler.run(right)
        if not good:
            failures.append('%s refuses what is right:\n%s' % (compiler.name, said))
        for index, (snippet, _, wrong, pattern) in enumerate(SNIPPETS):
            for filling in wrong:
                good, said = compiler.run(function(index, snippet, filling))
                count += 1
                if good:
                    failures.append('%s takes: %s' % (compiler.name, body(snippet, filling)))
                elif not re.search(pattern, said):
                    failures.append('%s refuses for another reason: %s\n%s' %
                                    (compiler.name, body(snippet, filling), said))
    print('%d mistakes tried' % count)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
