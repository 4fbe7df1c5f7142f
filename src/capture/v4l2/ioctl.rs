//! The calls that go to a driver directly.
//!
//! The `v4l` crate's own wrappers panic if a driver answers with something that they do not know: a
//! newer control type, a camera name cut inside a character, an unlisted colour space. A gate must
//! not stop because of that, so these few calls use the crate's bindings to its `ioctl`. The crate
//! still does streaming and memory mapping.

// The only unsafe code of this room: C structures that the kernel fills, and the unions in them.
#![allow(unsafe_code)]

use std::io;
use v4l::Device;
use v4l::v4l_sys::{
    v4l2_capability, v4l2_control, v4l2_fmtdesc, v4l2_format, v4l2_fract, v4l2_frmivalenum,
    v4l2_frmsizeenum, v4l2_pix_format, v4l2_query_ext_ctrl, v4l2_querymenu, v4l2_streamparm,
};
use v4l::v4l2::vidioc::{self, _IOC_TYPE as Request};

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const CAPTURE: u32 = 1;
/// `V4L2_FRMSIZE_TYPE_DISCRETE` and `V4L2_FRMIVAL_TYPE_DISCRETE`; anything else is a range.
const DISCRETE: u32 = 1;
/// `V4L2_CTRL_FLAG_NEXT_CTRL`: the next control after this number, arrays left out.
const NEXT: u32 = 0x8000_0000;
/// A signal can interrupt a call; more than a few in a row have another cause.
const ATTEMPTS: usize = 8;

/// A C structure of numbers and arrays of numbers.
///
/// # Safety
/// All bits zero, and any bits that a kernel writes, must be a valid value.
unsafe trait Plain: Copy {}

// SAFETY: integers, arrays of integers and unions of such, as generated from the kernel's header;
// none has a reference or an enumeration.
unsafe impl Plain for v4l2_capability {}
// SAFETY: as above.
unsafe impl Plain for v4l2_control {}
// SAFETY: as above.
unsafe impl Plain for v4l2_fmtdesc {}
// SAFETY: as above; its window member has raw pointers, which may be null and are never followed.
unsafe impl Plain for v4l2_format {}
// SAFETY: as above.
unsafe impl Plain for v4l2_frmivalenum {}
// SAFETY: as above.
unsafe impl Plain for v4l2_frmsizeenum {}
// SAFETY: as above.
unsafe impl Plain for v4l2_query_ext_ctrl {}
// SAFETY: as above.
unsafe impl Plain for v4l2_querymenu {}
// SAFETY: as above.
unsafe impl Plain for v4l2_streamparm {}

fn zeroed<T: Plain>() -> T {
    // SAFETY: `Plain` promises that zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Number of bytes that the kernel reads and writes for `request`: coded into it
/// (`asm-generic/ioctl.h`).
fn argument_size(request: Request) -> usize {
    ((request >> 16) & 0x3fff) as usize
}

fn call<T: Plain>(device: &Device, request: Request, argument: &mut T) -> io::Result<()> {
    if argument_size(request) != std::mem::size_of::<T>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for _ in 0..ATTEMPTS {
        let pointer = std::ptr::from_mut(argument).cast();
        // SAFETY: the pointer is to a live, exclusive value of exactly the size that the kernel
        // takes for this request (checked above), and whatever it writes is a value of `T`.
        let answer = unsafe { v4l::v4l2::ioctl(device.handle().fd(), request, pointer) };
        match answer {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
    Err(io::Error::from(io::ErrorKind::Interrupted))
}

/// Text in a C array: up to its first zero, whatever the bytes are.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// Driver, names and capabilities (`VIDIOC_QUERYCAP`).
pub(super) fn capability(device: &Device) -> io::Result<v4l2_capability> {
    let mut answer = zeroed();
    call(device, vidioc::VIDIOC_QUERYCAP, &mut answer)?;
    Ok(answer)
}

/// The picture format as set (`VIDIOC_G_FMT`).
pub(super) fn format(device: &Device) -> io::Result<v4l2_pix_format> {
    let mut answer: v4l2_format = zeroed();
    answer.type_ = CAPTURE;
    call(device, vidioc::VIDIOC_G_FMT, &mut answer)?;
    // SAFETY: for this type the kernel fills `pix`, numbers alone.
    Ok(unsafe { answer.fmt.pix })
}

/// Requests a format (`VIDIOC_S_FMT`); [`format`] returns what was granted. The driver chooses row
/// length and size; it would take old values there as a wish.
pub(super) fn set_format(
    device: &Device,
    fourcc: [u8; 4],
    width: u32,
    height: u32,
) -> io::Result<()> {
    let mut wish: v4l2_format = zeroed();
    wish.type_ = CAPTURE;
    // SAFETY: an all-zero `pix` is a value; it is the member that goes with this type.
    let pix = unsafe { &mut wish.fmt.pix };
    pix.width = width;
    pix.height = height;
    pix.pixelformat = u32::from_le_bytes(fourcc);
    pix.field = FIELD_NONE;
    pix.bytesperline = 0;
    pix.sizeimage = 0;
    call(device, vidioc::VIDIOC_S_FMT, &mut wish)
}

/// The colour matrix that a format names (`enum v4l2_ycbcr_encoding`), 0 for its default.
pub(super) fn encoding(format: &v4l2_pix_format) -> u32 {
    // SAFETY: one number under two names.
    unsafe { format.__bindgen_anon_1.ycbcr_enc }
}

/// `V4L2_FIELD_NONE`: whole pictures, not interlaced.
pub(super) const FIELD_NONE: u32 = 1;

/// Seconds per frame as set, as numerator and denominator, and whether it can be set at all
/// (`VIDIOC_G_PARM`).
pub(super) fn interval(device: &Device) -> io::Result<((u32, u32), bool)> {
    /// `V4L2_CAP_TIMEPERFRAME`.
    const CAN_BE_SET: u32 = 0x1000;
    let mut answer: v4l2_streamparm = zeroed();
    answer.type_ = CAPTURE;
    call(device, vidioc::VIDIOC_G_PARM, &mut answer)?;
    // SAFETY: for this type the kernel fills `capture`, numbers alone.
    let capture = unsafe { answer.parm.capture };
    let interval = capture.timeperframe;
    Ok((
        (interval.numerator, interval.denominator),
        capture.capability & CAN_BE_SET != 0,
    ))
}

/// Requests a frame interval in seconds (`VIDIOC_S_PARM`); [`interval`] returns what was granted.
pub(super) fn set_interval(device: &Device, (over, under): (u32, u32)) -> io::Result<()> {
    let mut wish: v4l2_streamparm = zeroed();
    wish.type_ = CAPTURE;
    wish.parm.capture.timeperframe = v4l2_fract {
        numerator: over,
        denominator: under,
    };
    call(device, vidioc::VIDIOC_S_PARM, &mut wish)
}

/// Format number `index` (`VIDIOC_ENUM_FMT`); an error ends the list.
pub(super) fn format_at(device: &Device, index: u32) -> io::Result<([u8; 4], String)> {
    let mut answer: v4l2_fmtdesc = zeroed();
    answer.index = index;
    answer.type_ = CAPTURE;
    call(device, vidioc::VIDIOC_ENUM_FMT, &mut answer)?;
    Ok((answer.pixelformat.to_le_bytes(), text(&answer.description)))
}

/// Smallest, largest and step of one side.
pub(super) type Range = (u32, u32, u32);

/// Size number `index` of a format: its widths and heights (`VIDIOC_ENUM_FRAMESIZES`).
pub(super) fn size_at(device: &Device, fourcc: [u8; 4], index: u32) -> io::Result<(Range, Range)> {
    let mut answer: v4l2_frmsizeenum = zeroed();
    answer.index = index;
    answer.pixel_format = u32::from_le_bytes(fourcc);
    call(device, vidioc::VIDIOC_ENUM_FRAMESIZES, &mut answer)?;
    if answer.type_ == DISCRETE {
        // SAFETY: numbers alone; both members are always initialised, by zero or by the kernel.
        let size = unsafe { answer.__bindgen_anon_1.discrete };
        return Ok(((size.width, size.width, 1), (size.height, size.height, 1)));
    }
    // SAFETY: as above.
    let size = unsafe { answer.__bindgen_anon_1.stepwise };
    Ok((
        (size.min_width, size.max_width, size.step_width),
        (size.min_height, size.max_height, size.step_height),
    ))
}

/// Frame interval number `index` at a size, shortest and longest in seconds as fractions
/// (`VIDIOC_ENUM_FRAMEINTERVALS`).
pub(super) fn interval_at(
    device: &Device,
    fourcc: [u8; 4],
    (width, height): (u32, u32),
    index: u32,
) -> io::Result<[(u32, u32); 2]> {
    let mut answer: v4l2_frmivalenum = zeroed();
    answer.index = index;
    answer.pixel_format = u32::from_le_bytes(fourcc);
    answer.width = width;
    answer.height = height;
    call(device, vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut answer)?;
    let pair = |f: v4l2_fract| (f.numerator, f.denominator);
    if answer.type_ == DISCRETE {
        // SAFETY: numbers alone; both members are always initialised, by zero or by the kernel.
        let only = pair(unsafe { answer.__bindgen_anon_1.discrete });
        return Ok([only, only]);
    }
    // SAFETY: as above.
    let range = unsafe { answer.__bindgen_anon_1.stepwise };
    Ok([pair(range.min), pair(range.max)])
}

/// The control after number `id`, 0 for the first (`VIDIOC_QUERY_EXT_CTRL`); an error ends the list.
pub(super) fn control_after(device: &Device, id: u32) -> io::Result<v4l2_query_ext_ctrl> {
    let mut answer: v4l2_query_ext_ctrl = zeroed();
    answer.id = id | NEXT;
    call(device, vidioc::VIDIOC_QUERY_EXT_CTRL, &mut answer)?;
    Ok(answer)
}

/// A control's name.
pub(super) fn control_name(control: &v4l2_query_ext_ctrl) -> String {
    text(&control.name.map(|c| c as u8))
}

/// Entry `index` of a menu: its name, or the number that it stands for (`VIDIOC_QUERYMENU`). An
/// error means that this entry does not exist; higher ones can exist.
pub(super) fn menu_entry(
    device: &Device,
    id: u32,
    index: u32,
    of_numbers: bool,
) -> io::Result<String> {
    let mut answer: v4l2_querymenu = zeroed();
    answer.id = id;
    answer.index = index;
    call(device, vidioc::VIDIOC_QUERYMENU, &mut answer)?;
    // The structure is packed, so the union is copied before it is read.
    let content = answer.__bindgen_anon_1;
    // SAFETY: numbers alone, both members always initialised, by zero or by the kernel.
    Ok(unsafe {
        if of_numbers {
            content.value.to_string()
        } else {
            text(&content.name)
        }
    })
}

/// The value of a control (`VIDIOC_G_CTRL`).
pub(super) fn control(device: &Device, id: u32) -> io::Result<i64> {
    let mut answer: v4l2_control = zeroed();
    answer.id = id;
    call(device, vidioc::VIDIOC_G_CTRL, &mut answer)?;
    Ok(i64::from(answer.value))
}

/// Sets a control (`VIDIOC_S_CTRL`).
pub(super) fn set_control(device: &Device, id: u32, value: i64) -> io::Result<()> {
    let mut wish: v4l2_control = zeroed();
    wish.id = id;
    wish.value = i32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    call(device, vidioc::VIDIOC_S_CTRL, &mut wish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    #[test]
    fn every_request_takes_what_is_handed_over() {
        for (request, size) in [
            (vidioc::VIDIOC_QUERYCAP, size_of::<v4l2_capability>()),
            (vidioc::VIDIOC_G_FMT, size_of::<v4l2_format>()),
            (vidioc::VIDIOC_S_FMT, size_of::<v4l2_format>()),
            (vidioc::VIDIOC_G_PARM, size_of::<v4l2_streamparm>()),
            (vidioc::VIDIOC_S_PARM, size_of::<v4l2_streamparm>()),
            (vidioc::VIDIOC_ENUM_FMT, size_of::<v4l2_fmtdesc>()),
            (
                vidioc::VIDIOC_ENUM_FRAMESIZES,
                size_of::<v4l2_frmsizeenum>(),
            ),
            (
                vidioc::VIDIOC_ENUM_FRAMEINTERVALS,
                size_of::<v4l2_frmivalenum>(),
            ),
            (
                vidioc::VIDIOC_QUERY_EXT_CTRL,
                size_of::<v4l2_query_ext_ctrl>(),
            ),
            (vidioc::VIDIOC_QUERYMENU, size_of::<v4l2_querymenu>()),
            (vidioc::VIDIOC_G_CTRL, size_of::<v4l2_control>()),
            (vidioc::VIDIOC_S_CTRL, size_of::<v4l2_control>()),
        ] {
            assert_eq!(argument_size(request), size, "{request:x}");
        }
        // Sizes of the kernel's ABI on 64-bit machines (videodev2.h): a wrong binding fails here.
        assert_eq!(size_of::<v4l2_capability>(), 104);
        assert_eq!(size_of::<v4l2_format>(), 208);
        assert_eq!(size_of::<v4l2_query_ext_ctrl>(), 232);
        assert_eq!(size_of::<v4l2_querymenu>(), 44);
    }

    #[test]
    fn something_that_is_no_camera_is_an_error_not_a_crash() {
        let device = Device::with_path("/dev/null").expect("open");
        let error = capability(&device).expect_err("a camera");
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::NOTTY.raw_os_error())
        );
        assert!(format(&device).is_err() && interval(&device).is_err());
        assert!(format_at(&device, 0).is_err() && control_after(&device, 0).is_err());
        assert!(set_control(&device, 1, i64::MAX).is_err());
    }

    #[test]
    fn names_may_be_cut_inside_a_character() {
        assert_eq!(text(b"Kamera \xc3\xa4\0rest"), "Kamera \u{e4}");
        assert_eq!(text(b"Kamera \xc3"), "Kamera \u{fffd}");
        assert_eq!(text(b""), "");
    }
}
