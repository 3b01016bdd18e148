// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rows 18 and 19: a virtqueue's chain of three descriptors, as a device that is tuned by hand would work on it: the snapshot is
//! taken per chain; each ring and each buffer is looked up once per chain, by get_slice(), and everything else goes through that
//! slice, without another lookup.

use std::sync::atomic::Ordering;

use vm_memory::{ByteValued, Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryAtomic, VolatileMemory};

use crate::map::{self, Area, Guest, Memory, Place, Random};
use crate::{all, failed, keep, keep_memory, regions_of, Row};

const QUEUE: u64 = 256;
const REGION: u64 = 64 << 10;
/// In region 0: descriptors, available ring, used ring.
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const AVAILABLE_BYTES: usize = 4 + 2 * QUEUE as usize;
const USED_BYTES: usize = 4 + 8 * QUEUE as usize;
/// In any region: what is read, what the data is, and the status.
const HEADER: u64 = 0x4000;
const DATA: u64 = 0x5000;
const STATUS: u64 = 0x6000;
const DATA_BYTES: usize = 4096;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Descriptor {
    address: u64,
    bytes: u32,
    flags: u16,
    next: u16,
}

// SAFETY: plain integers without padding.
unsafe impl ByteValued for Descriptor {}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct UsedEntry {
    id: u32,
    bytes: u32,
}

// SAFETY: plain integers without padding.
unsafe impl ByteValued for UsedEntry {}

pub fn names(names: &mut Vec<String>) {
    for row in ["chain", "chain_copy"] {
        names.extend([1, 8, 512].map(|regions| format!("{}/{}", row, regions)));
    }
    names.extend([8, 512].map(|regions| format!("chain/{}/apart", regions)));
}

/// One chain: what it is made of is read once, and checked before it is used.
#[inline(always)]
fn one_chain<const COPY: bool>(
    memory: &GuestMemoryAtomic<Memory<()>>,
    buffer: &mut [u8],
    next_available: u16,
    next_used: u16,
) -> Result<u64, vm_memory::GuestMemoryError> {
    let snapshot = memory.memory();
    let memory: &Memory<()> = &snapshot;
    let available = memory.get_slice(GuestAddress(AVAILABLE), AVAILABLE_BYTES)?;
    if u16::from_le(available.load(2, Ordering::Acquire)?) == next_available {
        failed("the queue is empty");
    }
    let slot = (next_available as u64 % QUEUE) as usize;
    let head = u16::from_le(available.load(4 + 2 * slot, Ordering::Relaxed)?);
    let table = memory.get_slice(GuestAddress(DESCRIPTORS), 16 * QUEUE as usize)?;
    let (mut index, mut sum, mut written) = (head, 0u64, 0u32);
    for _ in 0..3 {
        let descriptor = table.get_ref::<Descriptor>(16 * index as usize)?.load();
        let (address, bytes) = (u64::from_le(descriptor.address), u32::from_le(descriptor.bytes));
        let flags = u16::from_le(descriptor.flags);
        let slice = memory.get_slice(GuestAddress(address), bytes as usize)?;
        sum = sum.wrapping_add(slice.as_ptr() as u64);
        if flags & WRITE != 0 {
            written = written.wrapping_add(bytes);
        }
        if COPY && bytes as usize == DATA_BYTES {
            slice.copy_to(buffer);
        }
        if flags & NEXT == 0 {
            break;
        }
        index = u16::from_le(descriptor.next);
    }
    let used = memory.get_slice(GuestAddress(USED), USED_BYTES)?;
    let entry = UsedEntry { id: (head as u32).to_le(), bytes: written.to_le() };
    used.get_ref(4 + 8 * (next_used as u64 % QUEUE) as usize)?.store(entry);
    used.store(next_used.wrapping_add(1).to_le(), 2, Ordering::Release)?;
    Ok(sum)
}

/// The available ring is full of chains; when the device has seen them all, it begins anew.
#[inline(never)]
fn chains<const COPY: bool>(memory: &GuestMemoryAtomic<Memory<()>>, buffer: &mut [u8], count: u64) {
    let mut sum = 0u64;
    for at in 0..count {
        let at = (at % QUEUE) as u16;
        match one_chain::<COPY>(memory, buffer, at, at) {
            Ok(value) => sum = sum.wrapping_add(value),
            Err(error) => failed(error),
        }
        if COPY {
            keep_memory(buffer);
        }
    }
    keep(sum);
}

/// Writes as many chains of three as there are descriptors for, each with buffers in a random region, or each buffer in one of
/// its own; and an available ring of them all, in a random order.
fn lay_out(guest: &Guest<()>, places: &[Place], apart: bool) {
    let snapshot = guest.memory().memory();
    let mut random = Random::new();
    let write = |index: u64, descriptor: Descriptor| {
        snapshot.write_obj(descriptor, GuestAddress(DESCRIPTORS + 16 * index)).unwrap_or_else(|error| failed(error))
    };
    let chains = QUEUE / 3;
    for chain in 0..chains {
        let mut region = (random.next() >> 32) as usize % places.len();
        let parts = [(HEADER, 16, NEXT), (DATA, DATA_BYTES as u32, NEXT | WRITE), (STATUS, 1, WRITE)];
        for (part, (offset, bytes, flags)) in parts.into_iter().enumerate() {
            if apart && part > 0 {
                region = (random.next() >> 32) as usize % places.len();
            }
            guest.area().touch(places[region].offset + offset);
            // A line of its own for each small buffer.
            let line = if bytes == DATA_BYTES as u32 { 0 } else { (chain * 37 % 64) * 64 };
            let index = 3 * chain + part as u64;
            let next = if flags & NEXT != 0 { index as u16 + 1 } else { 0 };
            let address = places[region].first + offset + line;
            write(index, Descriptor { address: address.to_le(), bytes: bytes.to_le(), flags: flags.to_le(), next: next.to_le() });
        }
    }
    for slot in 0..QUEUE {
        let head = 3 * ((random.next() >> 32) % chains) as u16;
        snapshot.write_obj(head.to_le(), GuestAddress(AVAILABLE + 4 + 2 * slot)).unwrap_or_else(|error| failed(error));
    }
    snapshot.write_obj((QUEUE as u16).to_le(), GuestAddress(AVAILABLE + 2)).unwrap_or_else(|error| failed(error));
}

fn new_chain<const COPY: bool>(regions: usize, apart: bool) -> Row {
    let places = map::regular(regions, REGION);
    let guest = map::plain_guest(&places);
    lay_out(&guest, &places, apart);
    let mut buffer = Area::new(DATA_BYTES as u64);
    Box::new(move |count| {
        let buffer = buffer.as_mut_slice();
        all(count, || chains::<COPY>(guest.memory(), buffer, count))
    })
}

pub fn row(parts: &[&str]) -> Option<Row> {
    match *parts {
        ["chain", regions] => Some(new_chain::<false>(regions_of(regions)?, false)),
        ["chain", regions, "apart"] => Some(new_chain::<false>(regions_of(regions)?, true)),
        ["chain_copy", regions] => Some(new_chain::<true>(regions_of(regions)?, false)),
        _ => None,
    }
}
