//! The calls of linux/videodev2.h that are needed here, with the kernel's layouts.

#![allow(unsafe_code)]

use rustix::fd::BorrowedFd;
use rustix::io::Result;
use rustix::ioctl::{Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ptr;

const MEMORY_MMAP: u32 = 1;

/// `struct v4l2_format` with `struct v4l2_pix_format` in its union, which is aligned for pointers.
#[repr(C, align(8))]
pub struct Format {
    pub kind: u32,
    pub padding: u32,
    pub pix: [u32; 12],
    pub rest: [u32; 38],
}
const _: () = assert!(size_of::<Format>() == 208);

/// `struct v4l2_dv_timings`: type, then `struct v4l2_bt_timings`, packed. Its one 64-bit member,
/// the pixel clock, is two words here.
#[repr(C)]
pub struct Timings {
    pub words: [u32; 33],
}
const _: () = assert!(size_of::<Timings>() == 132);

/// `struct v4l2_queryctrl`.
#[repr(C)]
pub struct Query {
    pub id: u32,
    pub kind: u32,
    pub name: [u8; 32],
    pub limits: [i32; 4],
    pub flags: u32,
    pub reserved: [u32; 2],
}
const _: () = assert!(size_of::<Query>() == 68);

/// `struct v4l2_control`.
#[repr(C)]
pub struct Control {
    pub id: u32,
    pub value: i32,
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
struct Request {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

/// `struct v4l2_buffer` of 64-bit machines.
#[repr(C)]
#[derive(Default)]
struct Buffer {
    index: u32,
    kind: u32,
    used: u32,
    flags: u32,
    field: u32,
    padding: u32,
    time: [i64; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    offset: u64,
    length: u32,
    reserved: [u32; 3],
}
const _: () = assert!(size_of::<Buffer>() == 88);

macro_rules! call {
    ($(#[$doc:meta])* $visible:vis $name:ident, $number:literal, $argument:ty) => {
        $(#[$doc])*
        $visible fn $name(device: BorrowedFd<'_>, argument: &mut $argument) -> Result<()> {
            // SAFETY: the opcode is built from the size of the argument, whose layout is the
            // kernel's (checked above); the kernel writes nothing beyond it.
            unsafe {
                ioctl(
                    device,
                    Updater::<{ opcode::read_write::<$argument>(b'V', $number) }, $argument>::new(
                        argument,
                    ),
                )
            }
        }
    };
}
call!(
    /// VIDIOC_S_FMT.
    pub set_format, 5, Format
);
call!(
    /// VIDIOC_S_CTRL.
    pub set_control, 28, Control
);
call!(
    /// VIDIOC_QUERYCTRL.
    pub query_control, 36, Query
);
call!(
    /// VIDIOC_S_DV_TIMINGS.
    pub set_timings, 87, Timings
);
call!(request_buffers, 8, Request);
call!(query_buffer, 9, Buffer);
call!(queue_buffer, 15, Buffer);
call!(dequeue_buffer, 17, Buffer);

/// Memory of one frame, shared with the driver.
pub struct Picture {
    index: u32,
    at: *mut u8,
    length: usize,
}

impl Picture {
    /// Writes a frame, or as much of it as fits.
    pub fn fill(&mut self, bytes: &[u8]) {
        // SAFETY: the mapping is `length` bytes long and lives as long as this value; the driver
        // only reads it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, bytes.len().min(self.length)) }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: mapped in `buffers`, and nothing else points there. An error cannot be handled
        // here.
        let _ = unsafe { munmap(self.at.cast(), self.length) };
    }
}

/// Asks the driver for `count` buffers and maps them.
pub fn buffers(device: BorrowedFd<'_>, kind: u32, count: u32) -> Result<Vec<Picture>> {
    let mut request = Request {
        count,
        kind,
        memory: MEMORY_MMAP,
        capabilities: 0,
        flags: 0,
    };
    request_buffers(device, &mut request)?;
    (0..request.count)
        .map(|index| {
            let mut buffer = Buffer {
                index,
                kind,
                memory: MEMORY_MMAP,
                ..Buffer::default()
            };
            query_buffer(device, &mut buffer)?;
            let length = buffer.length as usize;
            // SAFETY: a new mapping at an address that the kernel selects.
            let at = unsafe {
                mmap(
                    ptr::null_mut(),
                    length,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED,
                    device,
                    buffer.offset,
                )
            }?;
            Ok(Picture {
                index,
                at: at.cast(),
                length,
            })
        })
        .collect()
}

/// VIDIOC_QBUF.
pub fn queue(device: BorrowedFd<'_>, kind: u32, picture: &Picture) -> Result<()> {
    let mut buffer = Buffer {
        index: picture.index,
        kind,
        used: picture.length as u32,
        field: 1, // progressive
        memory: MEMORY_MMAP,
        ..Buffer::default()
    };
    queue_buffer(device, &mut buffer)
}

/// VIDIOC_DQBUF: waits for a buffer that the driver no longer uses.
pub fn dequeue(device: BorrowedFd<'_>, kind: u32) -> Result<usize> {
    let mut buffer = Buffer {
        kind,
        memory: MEMORY_MMAP,
        ..Buffer::default()
    };
    dequeue_buffer(device, &mut buffer)?;
    Ok(buffer.index as usize)
}

/// VIDIOC_STREAMON.
pub fn stream(device: BorrowedFd<'_>, kind: u32) -> Result<()> {
    // SAFETY: the argument is an int, as the opcode requires.
    unsafe {
        ioctl(
            device,
            Setter::<{ opcode::write::<u32>(b'V', 18) }, u32>::new(kind),
        )
    }
}
