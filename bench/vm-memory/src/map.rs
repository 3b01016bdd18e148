// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What guests are made of: layouts of regions, host memory behind them, and tables of addresses, the same in all programs of
//! the benchmark.

use std::ptr::null_mut;

use vm_memory::bitmap::Bitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryAtomic, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::failed;

pub const PAGE: u64 = 4096;
/// Entries of a table of addresses.
pub const TABLE: usize = 65536;

/// xorshift64, with the seed of all programs.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Random(88172645463325252)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Where areas begin: on a border of so many bytes.
const BORDER: usize = 2 << 20;

/// Private anonymous memory; from a border on and of small pages, as in all programs: so what is copied from and what is copied
/// to stand alike in all of them.
pub struct Area {
    start: *mut u8,
    bytes: usize,
}

impl Area {
    pub fn new(bytes: u64) -> Self {
        let bytes = bytes as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping.
        let mapped = unsafe { libc::mmap(null_mut(), bytes + BORDER, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            failed(std::io::Error::last_os_error());
        }
        let before = (mapped as usize).wrapping_neg() % BORDER;
        let whole = (bytes + PAGE as usize - 1) / PAGE as usize * PAGE as usize;
        // SAFETY: all inside of the new mapping, of which nobody else knows.
        unsafe {
            let start = (mapped as *mut u8).add(before);
            if before > 0 {
                libc::munmap(mapped, before);
            }
            if before < BORDER {
                libc::munmap(start.add(whole) as *mut libc::c_void, BORDER - before);
            }
            libc::madvise(start as *mut libc::c_void, whole, libc::MADV_NOHUGEPAGE);
            Area { start, bytes }
        }
    }

    pub fn at(&self, offset: u64) -> *mut u8 {
        assert!((offset as usize) < self.bytes);
        // SAFETY: inside of the mapping.
        unsafe { self.start.add(offset as usize) }
    }

    /// Touches the page at @offset.
    pub fn touch(&self, offset: u64) {
        // SAFETY: inside of the mapping, which is writable.
        unsafe { self.at(offset).write_volatile(1) };
    }

    /// All of it, as a private buffer.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: this area's own, and borrowed like it.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped by new(); the regions that lie in it are gone, for every owner drops them first.
        unsafe { libc::munmap(self.start as *mut libc::c_void, self.bytes) };
    }
}

/// Where a region stands, and where its bytes are in the area.
#[derive(Clone, Copy)]
pub struct Place {
    pub first: u64,
    pub bytes: u64,
    pub offset: u64,
}

/// Equal regions, each with a gap of its own size behind it.
pub fn regular(regions: usize, bytes: u64) -> Vec<Place> {
    (0..regions as u64).map(|i| Place { first: 2 * i * bytes, bytes, offset: i * bytes }).collect()
}

/// Regions of 4 KiB to 256 KiB, and gaps of up to 1 MiB, a third of which are none.
pub fn irregular(regions: usize) -> Vec<Place> {
    let mut random = Random::new();
    let (mut first, mut offset) = (0, 0);
    let mut places = Vec::with_capacity(regions);
    for _ in 0..regions {
        let bytes = (1 + random.next() % 64) * PAGE;
        places.push(Place { first, bytes, offset });
        let gap = if random.next() % 3 == 0 { 0 } else { random.next() % 257 * PAGE };
        first += bytes + gap;
        offset += bytes;
    }
    places
}

pub type Memory<B> = GuestMemoryMmap<B>;

/// A guest's memory, held like a virtual machine monitor that can plug memory holds it. The map goes before the bytes.
pub struct Guest<B: Bitmap + Send + Sync + 'static> {
    memory: GuestMemoryAtomic<Memory<B>>,
    area: Area,
}

// By functions, so that a closure that uses one of the two holds both.
impl<B: Bitmap + Send + Sync + 'static> Guest<B> {
    pub fn memory(&self) -> &GuestMemoryAtomic<Memory<B>> {
        &self.memory
    }

    pub fn area(&self) -> &Area {
        &self.area
    }
}

pub fn new_region<B: Bitmap>(area: &Area, place: &Place, log: B) -> GuestRegionMmap<B> {
    // SAFETY: the area outlives the region: see Guest.
    let builder =
        unsafe { MmapRegionBuilder::new_with_bitmap(place.bytes as usize, log).with_raw_mmap_pointer(area.at(place.offset)) };
    let mapping: MmapRegion<B> =
        builder.with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE).build().unwrap_or_else(|error| failed(error));
    GuestRegionMmap::new(mapping, GuestAddress(place.first)).unwrap_or_else(|error| failed(error))
}

/// Built at once by from_regions(): one insert_region() per region would copy the list as often as there are regions.
pub fn new_guest<B: Bitmap + Send + Sync + 'static>(places: &[Place], log: impl Fn(u64) -> B) -> Guest<B> {
    let last = places.last().unwrap();
    let bytes = places.iter().map(|place| place.offset + place.bytes).max().unwrap();
    let area = Area::new(bytes);
    assert!(last.offset < bytes);
    let regions = places.iter().map(|place| new_region(&area, place, log(place.bytes))).collect();
    for place in places {
        area.touch(place.offset);
    }
    let map = GuestMemoryMmap::from_regions(regions).unwrap_or_else(|error| failed(error));
    Guest { memory: GuestMemoryAtomic::new(map), area }
}

/// A guest without dirty logs.
pub fn plain_guest(places: &[Place]) -> Guest<()> {
    new_guest(places, |_| ())
}

/// A random one of the region's eight words; each region has its own line of its first page, lest all fall into few cache sets.
fn word(places: &[Place], index: usize, random: u64) -> u64 {
    places[index].first + (index as u64 * 37 % 64) * 64 + random % 8 * 8
}

/// An address in a random region each time.
pub fn scattered(places: &[Place]) -> Vec<u64> {
    let mut random = Random::new();
    let mut one = || {
        let x = random.next();
        word(places, (x >> 32) as usize % places.len(), x)
    };
    (0..TABLE).map(|_| one()).collect()
}

/// Always in the region in the middle.
pub fn same(places: &[Place]) -> Vec<u64> {
    let mut random = Random::new();
    (0..TABLE).map(|_| word(places, places.len() / 2, random.next())).collect()
}

/// Borders and ends of the map in turn: a region's first word, a region's last, one of the first regions, one of the last.
pub fn hostile(places: &[Place]) -> Vec<u64> {
    let mut random = Random::new();
    let count = places.len();
    let few = count.min(4);
    let mut one = |turn: usize| {
        let x = random.next();
        let index = (x >> 32) as usize;
        match turn % 4 {
            0 => places[index % count].first,
            1 => places[index % count].first + places[index % count].bytes - 8,
            2 => word(places, index % few, x),
            _ => word(places, count - 1 - index % few, x),
        }
    };
    (0..TABLE).map(|turn| one(turn)).collect()
}

/// Calls @work with @count entries of @table, from its beginning over and over.
#[inline(always)]
pub fn over(table: &[u64], count: u64, mut work: impl FnMut(u64)) {
    let mut left = count;
    while left > 0 {
        let now = left.min(table.len() as u64);
        for &entry in &table[..now as usize] {
            work(entry);
        }
        left -= now;
    }
}
