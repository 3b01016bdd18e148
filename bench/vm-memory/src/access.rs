// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rows 1 to 8: loads, stores, lookups and reads. The snapshot is taken once per repetition, outside of the loop: a device
//! would take it once per request or batch.

use std::sync::atomic::Ordering;

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemory};

use crate::map::{self, Area, Guest, Memory, Place, PAGE};
use crate::{all, curve, failed, keep, keep_memory, regions_of, Row};

pub fn names(names: &mut Vec<String>) {
    names.push("load/1".into());
    names.extend(["load_same/8", "load_same/512"].map(String::from));
    names.extend(curve().map(|regions| format!("load_scattered/{}", regions)));
    for kind in ["irregular", "hostile"] {
        names.extend([8, 512].map(|regions| format!("load_scattered/{}/{}", regions, kind)));
    }
    names.push("store_dirty/1".into());
    names.extend(curve().map(|regions| format!("find/{}", regions)));
    for kind in ["irregular", "hostile"] {
        names.extend([4096, 32768].map(|regions| format!("find/{}/{}", regions, kind)));
    }
    names.extend(["read/64", "read/4096", "read_16_regions"].map(String::from));
}

/// Bytes::load() is the crate's aligned atomic load; faster than read_obj(), which copies slices.
#[inline(never)]
fn load(memory: &Memory<()>, table: &[u64], count: u64) {
    let mut sum = 0u64;
    map::over(table, count, |at| match memory.load::<u64>(GuestAddress(at), Ordering::Relaxed) {
        Ok(value) => sum = sum.wrapping_add(value),
        Err(error) => failed(error),
    });
    keep(sum);
}

/// Bytes::store() marks the region's AtomicBitmap by itself.
#[inline(never)]
fn store(memory: &Memory<AtomicBitmap>, table: &[u64], count: u64) {
    map::over(table, count, |at| {
        if let Err(error) = memory.store(at, GuestAddress(at), Ordering::Relaxed) {
            failed(error);
        }
    });
}

#[inline(never)]
fn find(memory: &Memory<()>, table: &[u64], count: u64) {
    let mut sum = 0u64;
    map::over(table, count, |at| match memory.find_region(GuestAddress(at)) {
        Some(region) => sum = sum.wrapping_add(region as *const _ as u64),
        None => failed(at),
    });
    keep(sum);
}

#[inline(never)]
fn read(memory: &Memory<()>, buffer: &mut [u8], count: u64) {
    for _ in 0..count {
        // Neither place nor length are constants for the compiler.
        let bytes = keep(buffer.len() as u64) as usize;
        if let Err(error) = memory.read_slice(&mut buffer[..bytes], GuestAddress(keep(0))) {
            failed(error);
        }
        keep_memory(buffer);
    }
}

fn new_load(places: &[Place], table: Vec<u64>) -> Row {
    let guest = map::plain_guest(places);
    Box::new(move |count| {
        let snapshot = guest.memory().memory();
        all(count, || load(&snapshot, &table, count))
    })
}

fn new_find(places: &[Place], table: Vec<u64>) -> Row {
    let guest = map::plain_guest(places);
    Box::new(move |count| {
        let snapshot = guest.memory().memory();
        all(count, || find(&snapshot, &table, count))
    })
}

fn new_store() -> Row {
    let places = map::regular(1, PAGE);
    let table = map::scattered(&places);
    let guest: Guest<AtomicBitmap> = map::new_guest(&places, |bytes| AtomicBitmap::new(bytes as usize, PAGE as usize));
    Box::new(move |count| {
        let snapshot = guest.memory().memory();
        all(count, || store(&snapshot, &table, count))
    })
}

fn new_read(places: &[Place], bytes: u64) -> Row {
    let guest = map::plain_guest(places);
    let mut buffer = Area::new(bytes);
    Box::new(move |count| {
        let snapshot = guest.memory().memory();
        let buffer = &mut buffer.as_mut_slice()[..bytes as usize];
        all(count, || read(&snapshot, buffer, count))
    })
}

/// Regions of 4 KiB without gaps, whose bytes lie in another order: every second page of the area, backwards.
fn adjacent() -> Vec<Place> {
    (0..16).map(|i| Place { first: i * PAGE, bytes: PAGE, offset: 2 * (15 - i) * PAGE }).collect()
}

pub fn row(parts: &[&str]) -> Option<Row> {
    match *parts {
        ["load", "1"] => row(&["load_scattered", "1"]),
        ["load_same", regions] => {
            let places = map::regular(regions_of(regions)?, PAGE);
            let table = map::same(&places);
            Some(new_load(&places, table))
        }
        ["store_dirty", "1"] => Some(new_store()),
        ["load_scattered", ..] => with_map(&parts[1..], new_load),
        ["find", ..] => with_map(&parts[1..], new_find),
        ["read", "64"] => Some(new_read(&map::regular(1, PAGE), 64)),
        ["read", "4096"] => Some(new_read(&map::regular(1, PAGE), 4096)),
        ["read_16_regions"] => Some(new_read(&adjacent(), 16 * PAGE)),
        _ => None,
    }
}

fn with_map(parts: &[&str], new: fn(&[Place], Vec<u64>) -> Row) -> Option<Row> {
    let regions = regions_of(parts[0])?;
    let (places, table) = match parts[1..] {
        [] => {
            let places = map::regular(regions, PAGE);
            let table = map::scattered(&places);
            (places, table)
        }
        ["irregular"] => {
            let places = map::irregular(regions);
            let table = map::scattered(&places);
            (places, table)
        }
        ["hostile"] => {
            let places = map::regular(regions, PAGE);
            let table = map::hostile(&places);
            (places, table)
        }
        _ => return None,
    };
    Some(new(&places, table))
}
