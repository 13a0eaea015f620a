//! Photos that differ in all that a photo can differ in, of the one free face that the project has: cut, mirrored, turned,
//! enlarged and shrunk, brightened, softened, in every format. The same on every machine.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, RgbImage};

const ASTRONAUT: &[u8] = include_bytes!("../pictures/astronaut.jpg");

/// Whole numbers of a small range, the same on every machine (splitmix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % u64::from(end)) as u32
    }

    fn between(&mut self, first: u32, last: u32) -> u32 {
        first + self.below(last - first + 1)
    }
}

/// `count` files: name and bytes.
pub fn files(count: usize) -> Vec<(String, Vec<u8>)> {
    let photo = image::load_from_memory(ASTRONAUT).expect("the test picture decodes").to_rgb8();
    (0..count).map(|index| file(&photo, index)).collect()
}

fn file(photo: &RgbImage, index: usize) -> (String, Vec<u8>) {
    let mut draws = Draws(index as u64);
    // The face's box is about 110 px wide around (224, 110) of 512 x 512.
    let (left, top) = (draws.below(150), draws.below(50));
    let (right, bottom) = (draws.between(300, 512), draws.between(190, 512));
    let mut picture = imageops::crop_imm(photo, left, top, right - left, bottom - top).to_image();
    if draws.below(2) == 0 {
        imageops::flip_horizontal_in_place(&mut picture);
    }
    let longest = picture.width().max(picture.height());
    let target = [160, 200, 256, 400, 640, 1024, 1600][draws.below(7) as usize] + draws.below(60);
    let side = |length: u32| (length * target).div_ceil(longest);
    let filter = [FilterType::Triangle, FilterType::CatmullRom, FilterType::Lanczos3][draws.below(3) as usize];
    picture = imageops::resize(&picture, side(picture.width()), side(picture.height()), filter);
    if draws.below(4) == 0 {
        picture = imageops::blur(&picture, draws.between(4, 15) as f32 / 10.0);
    }
    let (gain, shift) = (draws.between(70, 130), draws.between(0, 50) as f32 - 25.0);
    for value in picture.iter_mut() {
        *value = (f32::from(*value) * gain as f32 / 100.0 + shift).clamp(0.0, 255.0) as u8;
    }
    picture = match draws.below(8) {
        0 => imageops::rotate90(&picture),
        1 => imageops::rotate180(&picture),
        2 => imageops::rotate270(&picture),
        _ => picture,
    };
    let mut picture = DynamicImage::from(picture);
    if draws.below(6) == 0 {
        picture = picture.grayscale();
    }
    let (ending, format) =
        [("png", ImageFormat::Png), ("webp", ImageFormat::WebP), ("gif", ImageFormat::Gif), ("bmp", ImageFormat::Bmp)]
            [draws.below(4) as usize];
    let mut bytes = Cursor::new(Vec::new());
    if draws.below(3) > 0 {
        let quality = draws.between(40, 97) as u8;
        let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        picture.write_with_encoder(encoder).expect("a test picture can be encoded");
        return (format!("{index:03}.jpg"), bytes.into_inner());
    }
    picture = if format == ImageFormat::Gif { picture.to_rgba8().into() } else { picture };
    picture.write_to(&mut bytes, format).expect("a test picture can be encoded");
    (format!("{index:03}.{ending}"), bytes.into_inner())
}
