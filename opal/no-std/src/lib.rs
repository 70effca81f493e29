// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcg-opal` as firmware would link it: no std, an own panic handler and allocator.
//!
//! That this builds is the proof: were std anywhere below, its panic handler would be a second one,
//! which is an error. `check` also looks at the symbols. Nothing here is ever run.
#![no_std]
#![expect(unsafe_code, reason = "an exported symbol and an allocator, which firmware has to bring")]

use core::alloc::{GlobalAlloc, Layout};
use core::fmt::Write;
use core::panic::PanicInfo;

use opal::wire::call::{Answer, CallBuilder};
use opal::wire::discovery::{Descriptor, Discovery, Feature, Tper};
use opal::wire::packet::Envelope;
use opal::wire::print::Printer;
use opal::wire::{ComPacket, Reader};

/// Stands in for a firmware's allocator: it has no memory to give.
struct NoMemory;

// SAFETY: null is the documented way to refuse an allocation, so no block is ever handed out.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Uses both sides of the wire, so that the code is there to be looked at.
// SAFETY: no other symbol of this library has the name.
#[unsafe(no_mangle)]
pub extern "C" fn opal_no_std_touch(byte: u8) -> usize {
    let answer = [byte; 64];
    let mut discovery = Discovery::parse(&answer).unwrap_or_else(|_| Discovery::new([0; 32]));
    discovery.push(Descriptor::new(&Feature::Tper(Tper { sync: true, ..Tper::default() })));
    let call = CallBuilder::new(opal::spec::sp::THIS_SP, opal::spec::method::RANDOM)
        .with(|parameters| {
            parameters.uint(32);
        })
        .finish();
    let packet = Envelope::default().wrap(&call);
    let mut length = Length(discovery.to_bytes().len());
    let message = Printer::new().sent(1, 0x1000, &packet);
    // Writing to a counter cannot fail.
    let _ = write!(length, "{message}");
    length.0 += ComPacket::parse(&packet).map_or(0, |com| com.payload().len());
    length.0 + Answer::parse(&mut Reader::new(&call)).map_or(0, |answer| answer.results.rest().len())
}

struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
