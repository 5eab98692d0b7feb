//! The pool of one thread: one reserved region, cut into slabs of equal blocks.
//!
//! The owning thread takes and gives back without atomics. Other threads give back through a lock-free stack that the owner empties
//! when a class runs dry. A slab whose blocks are all free can become a slab of another class. When the pool ends before its last
//! block, the last one to come back frees the region.

use super::classes::{CLASS_COUNT, UNIT_BYTES, class_bytes, class_of, slab_units};
use super::{BLOCK_BYTES, POISON};
use crate::context::{Backend, backend};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU32, Ordering, fence};

/// What is known about one block; lies beside the memory, not in it, so that the memory stays aligned and untouched.
pub(super) struct Block {
    /// Buffers that share the block.
    pub(super) users: AtomicU32,
    slab: u32,
    pub(super) bytes: usize,
    /// Null: from the allocator, `data` and `bytes` are its own.
    home: *const Home,
    /// Link in `Home::returned`; for a block of the allocator its memory.
    next: AtomicPtr<Block>,
}

/// The part of a pool that other threads reach.
struct Home {
    /// Blocks given back by other threads, newest first; [`CLOSED`] after the pool's end.
    returned: AtomicPtr<Block>,
    /// After the pool's end: blocks still out. Whoever takes it to zero frees the home.
    outstanding: AtomicIsize,
    /// After the pool's end: what to free last.
    rest: RefCell<Option<(Region, Vec<Option<Slab>>)>>,
}

/// Never dereferenced.
const CLOSED: *mut Block = ptr::without_provenance_mut(usize::MAX);

struct Pool {
    home: NonNull<Home>,
    region: Region,
    units_taken: Vec<bool>,
    slabs: Vec<Option<Slab>>,
    /// Per class: slabs with at least one free block.
    with_free: [Vec<u32>; CLASS_COUNT],
    whole_free_slabs: usize,
    blocks_out: usize,
    bytes_out: usize,
}

struct Slab {
    class: usize,
    first_unit: usize,
    blocks: Box<[Block]>,
    free: Vec<u32>,
}

impl Slab {
    fn is_whole_free(&self) -> bool {
        self.free.len() == self.blocks.len()
    }
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PoolCounters {
    /// Buffers that came from the allocator because the pool was full (or there is none).
    pub(crate) misses: u64,
    /// Bytes of blocks in use.
    pub(crate) used_bytes: usize,
    /// Bytes that slabs have taken from the region.
    pub(crate) slab_bytes: usize,
}

thread_local! {
    static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) };
    /// The home of this thread's pool, to see at once whether a block is from here. Null without a pool.
    static HOME: Cell<*const Home> = const { Cell::new(ptr::null()) };
    static MISSES: Cell<u64> = const { Cell::new(0) };
}

/// Gives the calling thread a pool of at most `bytes`. The memory is reserved now and taken from the kernel when first used.
pub(crate) fn start_pool(bytes: usize) -> io::Result<()> {
    let pool = Pool::new(bytes)?;
    HOME.set(pool.home.as_ptr());
    POOL.replace(Some(pool));
    Ok(())
}

/// Ends the calling thread's pool; blocks still out stay valid.
pub(crate) fn stop_pool() {
    POOL.replace(None);
}

pub(crate) fn pool_counters() -> PoolCounters {
    let (used_bytes, slab_bytes) = POOL.with_borrow(|pool| match pool {
        Some(pool) => (pool.bytes_out, pool.units_taken.iter().filter(|taken| **taken).count() * UNIT_BYTES),
        None => (0, 0),
    });
    PoolCounters { misses: MISSES.get(), used_bytes, slab_bytes }
}

/// A block for at least `len` bytes with one user, and its memory.
pub(super) fn take(len: usize) -> (NonNull<Block>, NonNull<u8>) {
    let pooled = class_of(len).and_then(|class| POOL.with_borrow_mut(|pool| pool.as_mut()?.take(class)));
    pooled.unwrap_or_else(|| {
        MISSES.set(MISSES.get() + 1);
        take_from_allocator(len)
    })
}

/// Takes one user off `block`, and gives it back if it was the last.
///
/// # Safety
/// The caller is one of the block's users and does not touch it afterwards.
pub(super) unsafe fn release(block: NonNull<Block>) {
    // SAFETY: the caller's use keeps it alive.
    let this = unsafe { block.as_ref() };
    // The load spares the only user of a block the atomic write.
    if this.users.load(Ordering::Acquire) != 1 && this.users.fetch_sub(1, Ordering::Release) != 1 {
        return;
    }
    // Pairs with the release of other users: their reads end before the memory is used again.
    fence(Ordering::Acquire);
    if this.home.is_null() {
        // SAFETY: last user of a block made by `take_from_allocator`.
        unsafe { give_to_allocator(block) }
    } else if this.home == HOME.get() {
        POOL.with_borrow_mut(|pool| pool.as_mut().expect("HOME is null without a pool").give(block));
    } else {
        // SAFETY: the home lives as long as any of its blocks is out, and this one still is.
        unsafe { Home::give(this.home, block) }
    }
}

fn take_from_allocator(len: usize) -> (NonNull<Block>, NonNull<u8>) {
    let bytes = len.next_multiple_of(if len < BLOCK_BYTES { 64 } else { BLOCK_BYTES }).max(64);
    let layout = allocator_layout(bytes);
    // SAFETY: the layout's size is not zero.
    let Some(data) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
    if backend() == Backend::Sim {
        // SAFETY: all of the allocation just made, which nobody else reaches yet.
        unsafe { data.write_bytes(POISON, bytes) };
    }
    let block = Box::new(Block {
        users: AtomicU32::new(1),
        slab: 0,
        bytes,
        home: ptr::null(),
        next: AtomicPtr::new(data.as_ptr().cast()),
    });
    (NonNull::from(Box::leak(block)), data)
}

/// # Safety
/// `block` was made by `take_from_allocator` and has no user left.
unsafe fn give_to_allocator(block: NonNull<Block>) {
    // SAFETY: made by `Box::leak`, and nobody else reaches it.
    let block = unsafe { Box::from_raw(block.as_ptr()) };
    // SAFETY: allocated in `take_from_allocator` with the layout of the same size.
    unsafe { dealloc(block.next.load(Ordering::Relaxed).cast(), allocator_layout(block.bytes)) }
}

fn allocator_layout(bytes: usize) -> Layout {
    let align = if bytes < BLOCK_BYTES { 64 } else { BLOCK_BYTES };
    Layout::from_size_align(bytes, align).expect("buffer length fits the address space")
}

impl Home {
    /// # Safety
    /// `home` is the block's home and the block has no user left.
    unsafe fn give(home: *const Home, block: NonNull<Block>) {
        // SAFETY: alive until this block is counted as returned, at the end of this function.
        let (this, link) = unsafe { (&*home, &block.as_ref().next) };
        let mut newest = this.returned.load(Ordering::Acquire);
        while newest != CLOSED {
            link.store(newest, Ordering::Relaxed);
            match this.returned.compare_exchange_weak(newest, block.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => newest = now,
            }
        }
        // SAFETY: the pool has ended, so each block that comes back is counted here and nowhere else.
        unsafe { Home::count_returned(home, -1) }
    }

    /// # Safety
    /// The pool has ended. `change` is -1 for one block, or the number that was out at the pool's end, once.
    unsafe fn count_returned(home: *const Home, change: isize) {
        // SAFETY: whoever brings the sum to zero after the pool's own contribution is the last to touch the home: before that
        // contribution the count is not positive, so no -1 can take it from one to zero.
        let before = unsafe { (*home).outstanding.fetch_add(change, Ordering::AcqRel) };
        let is_last = if change < 0 { before == 1 } else { before + change == 0 };
        if is_last {
            // SAFETY: made by `Box::leak` in `Pool::new`; nobody else reaches it any more.
            drop(unsafe { Box::from_raw(home.cast_mut()) });
        }
    }
}

impl Pool {
    fn new(bytes: usize) -> io::Result<Pool> {
        let region = Region::reserve(bytes / UNIT_BYTES)?;
        let home = Box::new(Home {
            returned: AtomicPtr::new(ptr::null_mut()),
            outstanding: AtomicIsize::new(0),
            rest: RefCell::new(None),
        });
        Ok(Pool {
            home: NonNull::from(Box::leak(home)),
            units_taken: vec![false; region.units],
            region,
            slabs: Vec::new(),
            with_free: [const { Vec::new() }; CLASS_COUNT],
            whole_free_slabs: 0,
            blocks_out: 0,
            bytes_out: 0,
        })
    }

    fn take(&mut self, class: usize) -> Option<(NonNull<Block>, NonNull<u8>)> {
        if self.with_free[class].is_empty() {
            self.collect_returned();
        }
        if self.with_free[class].is_empty() {
            self.add_slab(class)?;
        }
        let index = *self.with_free[class].last()?;
        let slab = self.slabs[index as usize].as_mut().expect("listed slabs exist");
        self.whole_free_slabs -= slab.is_whole_free() as usize;
        let place = slab.free.pop().expect("listed slabs have a free block");
        if slab.free.is_empty() {
            self.with_free[class].pop();
        }
        self.blocks_out += 1;
        self.bytes_out += class_bytes(class);
        let block = &slab.blocks[place as usize];
        block.users.store(1, Ordering::Relaxed);
        // SAFETY: `add_slab` made only as many blocks as the slab's units hold.
        let data = unsafe { self.region.unit(slab.first_unit).add(place as usize * class_bytes(class)) };
        Some((NonNull::from(block), data))
    }

    fn give(&mut self, block: NonNull<Block>) {
        // SAFETY: slabs are only dropped when all their blocks are back.
        let index = unsafe { block.as_ref().slab };
        let slab = self.slabs[index as usize].as_mut().expect("a slab lives while one of its blocks is out");
        // SAFETY: `block` points into the slab's array.
        let place = unsafe { block.as_ptr().offset_from(slab.blocks.as_ptr()) } as u32;
        if slab.free.is_empty() {
            self.with_free[slab.class].push(index);
        }
        slab.free.push(place);
        self.whole_free_slabs += slab.is_whole_free() as usize;
        self.blocks_out -= 1;
        self.bytes_out -= class_bytes(slab.class);
    }

    fn collect_returned(&mut self) {
        // SAFETY: the pool keeps its home alive.
        let mut next = unsafe { self.home.as_ref() }.returned.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(block) = NonNull::new(next) {
            // SAFETY: a returned block has no user; its link was written before it was pushed.
            next = unsafe { block.as_ref() }.next.load(Ordering::Relaxed);
            self.give(block);
        }
    }

    fn add_slab(&mut self, class: usize) -> Option<()> {
        let units = slab_units(class);
        let first_unit = self.free_units(units).or_else(|| {
            self.drop_whole_free_slabs();
            self.free_units(units)
        })?;
        self.units_taken[first_unit..first_unit + units].fill(true);
        let index = self.slabs.iter().position(Option::is_none).unwrap_or(self.slabs.len());
        if index == self.slabs.len() {
            self.slabs.push(None);
        }
        let count = units * UNIT_BYTES / class_bytes(class);
        let block = |_| Block {
            users: AtomicU32::new(0),
            slab: index as u32,
            bytes: class_bytes(class),
            home: self.home.as_ptr(),
            next: AtomicPtr::new(ptr::null_mut()),
        };
        let blocks = (0..count).map(block).collect();
        self.slabs[index] = Some(Slab { class, first_unit, blocks, free: (0..count as u32).rev().collect() });
        self.with_free[class].push(index as u32);
        self.whole_free_slabs += 1;
        Some(())
    }

    fn free_units(&self, count: usize) -> Option<usize> {
        self.units_taken.windows(count).position(|window| !window.contains(&true))
    }

    fn drop_whole_free_slabs(&mut self) {
        if self.whole_free_slabs == 0 {
            return;
        }
        for index in 0..self.slabs.len() {
            if let Some(slab) = self.slabs[index].take_if(|slab| slab.is_whole_free()) {
                self.with_free[slab.class].retain(|listed| *listed as usize != index);
                self.units_taken[slab.first_unit..slab.first_unit + slab_units(slab.class)].fill(false);
            }
        }
        self.whole_free_slabs = 0;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        HOME.set(ptr::null());
        // SAFETY: the home lives until `count_returned` below at least.
        let home = unsafe { self.home.as_ref() };
        let mut next = home.returned.swap(CLOSED, Ordering::AcqRel);
        while let Some(block) = NonNull::new(next) {
            // SAFETY: as in `collect_returned`.
            next = unsafe { block.as_ref() }.next.load(Ordering::Relaxed);
            self.give(block);
        }
        let region = std::mem::replace(&mut self.region, Region { base: NonNull::dangling(), units: 0 });
        home.rest.replace(Some((region, std::mem::take(&mut self.slabs))));
        // SAFETY: the pool's own contribution, once; `rest` is in place before it.
        unsafe { Home::count_returned(self.home.as_ptr(), self.blocks_out as isize) }
    }
}

/// Address space, aligned to units.
struct Region {
    base: NonNull<u8>,
    units: usize,
}

impl Region {
    fn reserve(units: usize) -> io::Result<Region> {
        if units == 0 {
            return Ok(Region { base: NonNull::dangling(), units });
        }
        let (bytes, protection) = ((units + 1) * UNIT_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping; no address is asked for.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let skip = mapped.addr().next_multiple_of(UNIT_BYTES) - mapped.addr();
        // SAFETY: cuts the unaligned ends off the mapping just made; what stays is `units` whole units. The advice is only a wish.
        unsafe {
            let base = mapped.add(skip);
            if skip > 0 {
                libc::munmap(mapped, skip);
            }
            libc::munmap(base.add(units * UNIT_BYTES), UNIT_BYTES - skip);
            libc::madvise(base, units * UNIT_BYTES, libc::MADV_HUGEPAGE);
            Ok(Region { base: NonNull::new_unchecked(base.cast()), units })
        }
    }

    fn unit(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.units);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(index * UNIT_BYTES) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.units > 0 {
            // SAFETY: the mapping is this region's own and no block of it is in use.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.units * UNIT_BYTES) };
        }
    }
}
