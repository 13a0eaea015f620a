//! The crop, the resize and the tensor: against slow twins that are obviously right, and by properties.

use grnet::ErrorKind;
use grnet::picture::crop::{crop_resized, crop_square, resize, whole_bounds, whole_square};
use grnet::picture::{Rgb8, planes};
use grnet::report::Bounds;

/// Every pixel differs from its neighbours.
fn picture(height: usize, width: usize) -> Rgb8 {
    let pixel = |i: usize| [(i % 251) as u8, (i / width * 7 % 256) as u8, (i % width * 11 % 256) as u8];
    Rgb8::new(height, width, (0..height * width).flat_map(pixel).collect()).expect("a picture")
}

fn square(x: f32, y: f32, side: f32) -> Bounds {
    Bounds { x, y, width: side, height: side }
}

/// Walks from `start` to the index, one step a time, and turns round at the borders.
fn walk(index: i64, length: usize) -> usize {
    let (mut at, mut step) = (0i64, if index < 0 { -1 } else { 1 });
    for _ in 0..index.abs() {
        if length == 1 {
            return 0;
        }
        if at + step < 0 || at + step >= length as i64 {
            step = -step;
        }
        at += step;
    }
    at as usize
}

/// The crop, pixel by pixel.
fn slow_crop(photo: &Rgb8, bounds: &Bounds, margin: f32) -> Rgb8 {
    let side = f64::from(bounds.width.max(bounds.height)) * f64::from(margin);
    let left = (f64::from(bounds.x) + f64::from(bounds.width) / 2.0 - side / 2.0).round() as i64;
    let top = (f64::from(bounds.y) + f64::from(bounds.height) / 2.0 - side / 2.0).round() as i64;
    let side = side.round() as usize;
    let mut data = Vec::new();
    for y in 0..side as i64 {
        for x in 0..side as i64 {
            data.extend(photo.pixel(walk(top + y, photo.height), walk(left + x, photo.width)));
        }
    }
    Rgb8::new(side, side, data).expect("a picture")
}

#[test]
fn crops_equal_the_slow_twin() {
    let photo = picture(40, 56);
    for bounds in [
        square(10.0, 10.0, 20.0),
        square(0.0, 0.0, 40.0),
        square(-15.0, -20.0, 30.0),
        square(50.3, 33.8, 21.7),
        square(-300.0, 500.0, 24.0),
        square(-2.0, -2.0, 200.0),
        Bounds { x: 5.0, y: 2.0, width: 10.0, height: 36.0 },
    ] {
        for margin in [1.0, 1.3, 2.0] {
            let (fast, slow) = (crop_square(&photo, &bounds, margin), slow_crop(&photo, &bounds, margin));
            assert!(fast == slow, "{bounds:?}, margin {margin}");
        }
    }
}

#[test]
fn the_twin_notices_a_shift_of_one_pixel_and_a_repeated_border() {
    let photo = picture(40, 56);
    let bounds = square(-15.0, -20.0, 30.0);
    assert!(crop_square(&photo, &square(-14.0, -20.0, 30.0), 1.3) != slow_crop(&photo, &bounds, 1.3));
    // The pixel beyond the border is the border's neighbour, not the border again.
    let crop = crop_square(&photo, &square(-1.0, 0.0, 3.0), 1.0);
    assert_eq!(crop.pixel(0, 0), photo.pixel(0, 1));
    assert_ne!(photo.pixel(0, 1), photo.pixel(0, 0));
}

#[test]
fn crops_of_one_pixel_pictures_and_of_odd_boxes_exist() {
    let dot = Rgb8::new(1, 1, vec![9, 8, 7]).expect("a picture");
    let crop = crop_square(&dot, &square(-5.0, 3.0, 10.0), 1.3);
    assert_eq!((crop.height, crop.width), (13, 13));
    assert!(crop.data.chunks(3).all(|pixel| pixel == [9, 8, 7]));
    let photo = picture(30, 20);
    for bounds in [
        square(0.0, 0.0, 0.0),
        square(0.0, 0.0, -4.0),
        square(f32::NAN, 0.0, 10.0),
        square(0.0, f32::INFINITY, 10.0),
        square(0.0, 0.0, f32::INFINITY),
    ] {
        assert!(crop_square(&photo, &bounds, 1.3) == whole_square(&photo), "{bounds:?}");
    }
    let tiny = crop_square(&photo, &square(3.0, 3.0, 0.1), 1.0);
    assert_eq!((tiny.height, tiny.width), (1, 1));
}

#[test]
fn huge_boxes_come_back_at_1024() {
    let photo = picture(300, 400);
    for side in [1025.0, 5e4, 1e9, f32::MAX] {
        let crop = crop_square(&photo, &square(-100.0, -100.0, side), 1.0);
        assert_eq!((crop.height, crop.width), (1024, 1024), "{side}");
    }
    let far = crop_square(&photo, &square(f32::MAX, f32::MIN, 64.0), 1.0);
    assert_eq!((far.height, far.width), (64, 64));
}

#[test]
fn a_large_face_is_the_same_as_its_reduced_photo() {
    let photo = resize(&picture(50, 60), 2500, 3000).expect("larger");
    let crop = crop_square(&photo, &square(500.0, 200.0, 2048.0), 1.0);
    assert_eq!((crop.height, crop.width), (1024, 1024));
    for (y, x) in [(100, 100), (512, 700), (1000, 30)] {
        let (found, expected) = (crop.pixel(y, x), photo.pixel(200 + 2 * y, 500 + 2 * x));
        let worst = (0..3).map(|channel| found[channel].abs_diff(expected[channel])).max();
        assert!(worst <= Some(4), "at ({y}, {x}) expected {expected:?}, found {found:?}");
    }
}

#[test]
fn faces_above_and_below_the_side_that_is_copied_look_alike() {
    let photo = resize(&picture(50, 60), 5000, 5200).expect("larger");
    let [copied, reduced] = [4095.0, 4097.0].map(|side| {
        let bounds = square(600.0 - side / 2.0 + 2000.0, 2500.0 - side / 2.0, side);
        (crop_square(&photo, &bounds, 1.0), crop_resized(&photo, &bounds, 1.0, 160).expect("a crop"))
    });
    for (copied, reduced) in [(copied.0, reduced.0), (copied.1, reduced.1)] {
        assert_eq!((copied.height, copied.width), (reduced.height, reduced.width));
        let worst = copied.data.iter().zip(&reduced.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(4), "{worst:?}");
    }
}

#[test]
fn the_whole_square_lies_where_its_bounds_say() {
    for (height, width, left, top) in [(11, 8, 0.0, 1.0), (8, 11, 1.0, 0.0), (12, 8, 0.0, 2.0), (9, 9, 0.0, 0.0)] {
        let photo = picture(height, width);
        let bounds = whole_bounds(&photo);
        assert_eq!((bounds.x, bounds.y), (left, top));
        assert!(crop_square(&photo, &bounds, 1.0) == whole_square(&photo));
        assert_eq!(whole_square(&photo).pixel(0, 0), photo.pixel(top as usize, left as usize));
    }
}

#[test]
fn the_whole_square_is_the_centre() {
    let photo = picture(30, 51);
    let crop = whole_square(&photo);
    assert_eq!((crop.height, crop.width), (30, 30));
    assert_eq!(crop.pixel(0, 0), photo.pixel(0, 10));
    assert_eq!(crop.pixel(29, 29), photo.pixel(29, 39));
    let tall = picture(51, 30);
    assert_eq!(whole_square(&tall).pixel(0, 0), tall.pixel(10, 0));
}

#[test]
fn resizing_keeps_constants_and_the_size_asked_for() {
    let grey = Rgb8::new(37, 53, [10, 128, 250].repeat(37 * 53)).expect("a picture");
    for (height, width) in [(128, 128), (7, 200), (1, 1), (37, 53), (300, 20)] {
        let resized = resize(&grey, height, width).expect("resizable");
        assert_eq!((resized.height, resized.width), (height, width));
        assert!(resized.data.chunks(3).all(|pixel| pixel == [10, 128, 250]), "{height} x {width}");
    }
}

#[test]
fn resizing_is_antialiased() {
    // A checkerboard of single pixels has no detail that a quarter of the size can show: only its mean is left.
    let data = (0..64 * 64).flat_map(|i| [if (i / 64 + i % 64) % 2 == 0 { 0 } else { 255 }; 3]).collect();
    let small = resize(&Rgb8::new(64, 64, data).expect("a picture"), 16, 16).expect("resizable");
    let inner = (2..14).flat_map(|y| (2..14).map(move |x| (y, x)));
    for (y, x) in inner {
        let value = small.pixel(y, x)[0];
        assert!(value.abs_diff(127) <= 2, "at ({y}, {x}) found {value}");
    }
}

#[test]
fn resizing_commutes_with_flips() {
    let photo = picture(60, 90);
    let flip = |photo: &Rgb8| {
        let rows = photo.data.chunks(photo.width * 3);
        let data = rows.flat_map(|row| row.chunks(3).rev().flatten().copied().collect::<Vec<_>>()).collect();
        Rgb8::new(photo.height, photo.width, data).expect("a picture")
    };
    let a = flip(&resize(&photo, 32, 40).expect("resizable"));
    let b = resize(&flip(&photo), 32, 40).expect("resizable");
    let worst = a.data.iter().zip(&b.data).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1), "largest difference {worst:?}");
    assert!(a != resize(&photo, 32, 40).expect("resizable"), "the picture is its own mirror image");
}

#[test]
fn resizing_gives_the_same_bytes_with_and_without_simd() {
    use fast_image_resize::images::Image;
    use fast_image_resize::{CpuExtensions, FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
    let photo = picture(97, 131);
    let source = Image::from_vec_u8(131, 97, photo.data.clone(), PixelType::U8x3).expect("a picture");
    for side in [64, 128, 224] {
        let mut plain = Image::new(side, side, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        let mut resizer = Resizer::new();
        #[allow(unsafe_code, reason = "the crate leaves the choice of instructions to the caller")]
        // SAFETY: no extension is available on every processor.
        unsafe {
            resizer.set_cpu_extensions(CpuExtensions::None)
        };
        resizer.resize(&source, &mut plain, &options).expect("resizable");
        let ours = resize(&photo, side as usize, side as usize).expect("resizable");
        assert!(ours.data == plain.into_vec(), "{side}");
    }
}

#[test]
fn resizing_gives_the_bytes_that_models_were_trained_with() {
    // Another filter, or a release of the resizing crate that rounds otherwise, must be noticed: models depend on it.
    let sum = |sum: u32, value: &u8| sum.wrapping_mul(31).wrapping_add(u32::from(*value));
    let sums = [64, 128, 224].map(|side| {
        let resized = resize(&picture(97, 131), side, side).expect("resizable");
        resized.data.iter().fold(0, sum)
    });
    assert_eq!(sums, [3_809_625_854, 2_233_392_214, 3_825_425_815]);
}

#[test]
fn resizing_to_nothing_is_refused() {
    for (height, width) in [(0, 5), (5, 0)] {
        assert_eq!(resize(&picture(8, 8), height, width).expect_err("no pixels").kind(), ErrorKind::BadImage);
    }
}

#[test]
fn a_batch_is_planar_and_on_the_unit_scale() {
    let (a, b) = (picture(5, 4), picture(5, 4));
    let b = Rgb8::new(5, 4, b.data.iter().map(|value| 255 - value).collect()).expect("a picture");
    let values = planes(&[a.clone(), b.clone()]);
    assert_eq!(values.len(), 2 * 3 * 5 * 4);
    for (n, photo) in [a, b].iter().enumerate() {
        for c in 0..3 {
            for y in 0..5 {
                for x in 0..4 {
                    let found = values[((n * 3 + c) * 5 + y) * 4 + x];
                    assert_eq!(found, f32::from(photo.pixel(y, x)[c]) / 255.0);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "pictures of a batch share one size")]
fn crops_of_two_sizes_are_no_batch() {
    planes(&[picture(3, 3), picture(3, 4)]);
}

#[test]
fn a_crop_moves_with_its_box_by_fractions_of_a_pixel() {
    // A slope of 3 levels a pixel along x, 1 along y: what a pixel shows says where it lies.
    let (height, width) = (60, 70);
    let data = (0..height * width).flat_map(|at| [(at % width * 3) as u8, (at / width) as u8, 50]).collect();
    let slope = Rgb8::new(height, width, data).expect("a picture");
    for (x, side_px) in [(20.0, 24), (20.25, 24), (20.5, 24), (20.75, 24), (20.4, 12), (20.4, 31)] {
        let crop = crop_resized(&slope, &square(x, 15.0, 24.0), 1.0, side_px).expect("a crop");
        let step = 24.0 / side_px as f32;
        for column in 0..side_px {
            let place = x + (column as f32 + 0.5) * step - 0.5;
            let found = f32::from(crop.pixel(side_px / 2, column)[0]);
            assert!((found - 3.0 * place).abs() <= 1.0, "box at {x}, column {column} of {side_px}: {found}, {place}");
        }
    }
    // On whole pixels and at its own size it is the plain crop.
    let bounds = square(20.0, 15.0, 24.0);
    assert!(crop_resized(&slope, &bounds, 1.0, 24).expect("a crop") == crop_square(&slope, &bounds, 1.0));
    let odd = square(f32::NAN, 0.0, 10.0);
    assert!(crop_resized(&slope, &odd, 1.0, 60).expect("a crop") == whole_square(&slope));
    assert!(crop_resized(&slope, &bounds, 1.0, 0).is_err());
}
