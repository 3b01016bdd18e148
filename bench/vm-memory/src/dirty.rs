// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rows 13 to 17: AtomicBitmap, the crate's dirty log. It hands out words and no ranges; the ranges are made of the words here,
//! as a monitor that migrates a guest has to.

use std::time::Instant;

use vm_memory::bitmap::AtomicBitmap;

use crate::map::{self, Random, PAGE, TABLE};
use crate::{all, clock, keep, Row, Took};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Pages of the log that mark_again works on: all of it stays in the nearest cache.
const SMALL_PAGES: u64 = 4096;
/// Pages of the log of the curve.
const CURVE_PAGES: u64 = 1_000_000;

pub fn names(names: &mut Vec<String>) {
    names.extend(["mark_again", "mark_1g", "collect_empty", "collect_1pc", "collect_all"].map(String::from));
    names.extend((0..7).map(|power| 10u64.pow(power)).chain([0]).map(|pages| format!("collect/{}", pages)));
}

fn new_log(bytes: u64) -> AtomicBitmap {
    AtomicBitmap::new(bytes as usize, PAGE as usize)
}

/// Calls @each with first page and number of pages of every range of ones.
#[inline(always)]
fn ranges(words: &[u64], mut each: impl FnMut(u64, u64)) {
    let (mut first, mut count) = (0u64, 0u64);
    for (index, &word) in words.iter().enumerate() {
        if word == u64::MAX && count != 0 {
            count += 64;
            continue;
        }
        // A range that reached this word's beginning either goes on in it or ends.
        if count != 0 && word & 1 == 0 {
            each(first, count);
            count = 0;
        }
        let (mut rest, mut at) = (word, index as u64 * 64);
        while rest != 0 {
            let zeros = rest.trailing_zeros();
            rest >>= zeros;
            at += zeros as u64;
            let ones = (!rest).trailing_zeros();
            if count == 0 {
                first = at;
            }
            count += ones as u64;
            at += ones as u64;
            if at == (index as u64 + 1) * 64 {
                break;
            }
            rest >>= ones;
            each(first, count);
            count = 0;
        }
    }
    if count != 0 {
        each(first, count);
    }
}

/// get_and_reset() is the crate's one way to collect and clear at once.
#[inline(never)]
fn collect(log: &AtomicBitmap) -> u64 {
    let (mut sum, mut pages) = (0u64, 0u64);
    ranges(&log.get_and_reset(), |first, count| {
        sum = sum.wrapping_add(first);
        pages += count;
    });
    keep(sum);
    pages
}

#[inline(never)]
fn mark_again(log: &AtomicBitmap, table: &[u64], count: u64) {
    map::over(table, count, |at| log.set_addr_range(at as usize, PAGE as usize));
}

fn new_mark_again() -> Row {
    let log = new_log(SMALL_PAGES * PAGE);
    log.set_addr_range(0, (SMALL_PAGES * PAGE) as usize);
    let mut random = Random::new();
    let table: Vec<u64> = (0..TABLE).map(|_| (random.next() >> 32) % SMALL_PAGES * PAGE).collect();
    Box::new(move |count| all(count, || mark_again(&log, &table, count)))
}

/// Times each operation apart, for what comes before each is not to be timed.
fn each(count: u64, mut prepare: impl FnMut(), mut work: impl FnMut()) -> Took {
    let mut nanoseconds = 0;
    for _ in 0..count {
        prepare();
        let start = Instant::now();
        work();
        nanoseconds += clock(start);
    }
    Took { operations: count, nanoseconds }
}

fn new_mark_1g() -> Row {
    let log = new_log(GIB);
    Box::new(move |count| each(count, || log.reset(), || log.set_addr_range(0, keep(GIB) as usize)))
}

fn new_collect_empty() -> Row {
    let log = new_log(TIB);
    Box::new(move |count| {
        all(count, || {
            for _ in 0..count {
                assert_eq!(collect(&log), 0);
            }
        })
    })
}

/// A log of which a copy is made before each collect: marking again would take far longer, and leaves the same words.
fn new_collect(marked: AtomicBitmap, pages: u64) -> Row {
    let log = std::cell::RefCell::new(marked.clone());
    Box::new(move |count| {
        each(
            count,
            || {
                // One copy at a time.
                log.replace(AtomicBitmap::default());
                log.replace(marked.clone());
            },
            || assert_eq!(collect(&log.borrow()), pages),
        )
    })
}

/// So many different pages of @all, at random.
fn random_log(all: u64, pages: u64) -> AtomicBitmap {
    let log = new_log(all * PAGE);
    // Few pages are marked, or few are left out.
    let few = pages.min(all - pages);
    let chosen = new_log(all * PAGE);
    let mut random = Random::new();
    let mut count = 0;
    while count < few {
        let page = ((random.next() >> 32) % all) as usize;
        if !chosen.is_bit_set(page) {
            chosen.set_addr_range(page * PAGE as usize, PAGE as usize);
            count += 1;
        }
    }
    if few == pages {
        return chosen;
    }
    for page in (0..all as usize).filter(|&page| !chosen.is_bit_set(page)) {
        log.set_addr_range(page * PAGE as usize, PAGE as usize);
    }
    log
}

pub fn row(parts: &[&str]) -> Option<Row> {
    match *parts {
        ["mark_again"] => Some(new_mark_again()),
        ["mark_1g"] => Some(new_mark_1g()),
        ["collect_empty"] => Some(new_collect_empty()),
        ["collect_1pc"] => {
            let pages = TIB / PAGE / 100;
            Some(new_collect(random_log(TIB / PAGE, pages), pages))
        }
        ["collect_all"] => Some(new_collect(random_log(TIB / PAGE, TIB / PAGE), TIB / PAGE)),
        ["collect", pages] => {
            let pages = pages.parse().ok().filter(|&pages: &u64| pages <= CURVE_PAGES)?;
            Some(new_collect(random_log(CURVE_PAGES, pages), pages))
        }
        _ => None,
    }
}
