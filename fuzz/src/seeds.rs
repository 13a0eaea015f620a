//! The valid files from which fuzzing starts: `seeds FOLDER` writes `FOLDER/TARGET/NAME`. Small ones, of every kind that the
//! program reads; with the small files of `tests/`, found beside this crate.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use grnet::detector::{PrepareConfig, prepare};
use grnet::model::{ModelMeta, Precision, file};
use grnet::picture::face::Finder;
use grnet::report::evidence;
use grnet_fuzz::with_png_checksums;
use image::{DynamicImage, ImageFormat};
use safetensors::tensor::{Dtype, TensorView};

/// Larger files make slow and shallow fuzzing.
const MAX_SEED_BYTES: u64 = 64 << 10;

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: seeds FOLDER")?);
    let put = |target: &str, name: &str, bytes: &[u8]| -> Done {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(name), bytes)?)
    };
    let mut photos = pictures()?;
    for place in ["tests/golden", "tests/golden/jpeg", "tests/regressions", "www/gallery"] {
        photos.extend(files(place)?);
    }
    for (name, bytes) in &photos {
        for target in ["decode", "provenance", "detect"] {
            put(target, name, bytes)?;
        }
        let report = prepare(name, bytes, &mut Finder::new()?, &PrepareConfig::new(32, 1.3)).report;
        put("report", &format!("{name}.json"), evidence::json(&report)?.as_bytes())?;
        put("report", &format!("{name}.html"), evidence::html(&report, &[], None)?.as_bytes())?;
    }
    put("report", "manifest.json", &std::fs::read(project("weights/grnet.json"))?)?;
    for (name, bytes) in models()? {
        put("model", &name, &bytes)?;
    }
    // Whole, so that mutations reach the network behind the header.
    put("finder", "face.safetensors", &std::fs::read(project("weights/face.safetensors"))?)?;
    for name in ["checkpoint", "compressed", "integers", "repeated", "state", "state_old"] {
        put("torch", name, &std::fs::read(project(&format!("tests/golden/{name}.pth")))?)?;
    }
    for (name, table) in [
        (
            "full",
            "path,label,source,kind,group,split,set\na.jpg,0,s,,g,train,p\nb/c.png,1,t,swap,h,test,q\nd.webp,-1,t,,,validation,\n",
        ),
        ("semicolons", "Path; Label\n\"a;b.jpg\"; real\nc.jpg; fake\n"),
        ("tabs", "label\tpath\n1\ta.jpg\n"),
    ] {
        put("table", name, table.as_bytes())?;
        let units = std::iter::once(0xfeff).chain(table.encode_utf16());
        put("table", &format!("{name}-utf16"), &units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())?;
    }
    Ok(())
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The small pictures of a folder of the project, if it is there.
fn files(folder: &str) -> Result<Vec<(String, Vec<u8>)>, Box<dyn std::error::Error>> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(project(folder)) else { return Ok(found) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kept = [".jpg", ".png", ".webp", ".gif", ".bmp"].iter().any(|end| name.ends_with(end));
        if kept && entry.metadata()?.len() <= MAX_SEED_BYTES {
            found.push((name, std::fs::read(entry.path())?));
        }
    }
    Ok(found)
}

/// A pattern with edges, in every format and in its colour types.
fn pictures() -> Result<Vec<(String, Vec<u8>)>, Box<dyn std::error::Error>> {
    let rgba = image::RgbaImage::from_fn(40, 24, |x, y| {
        image::Rgba([(x * 6) as u8, (y * 9) as u8, (x ^ y) as u8, 255 - (x + y) as u8])
    });
    let rgba = DynamicImage::ImageRgba8(rgba);
    let kinds = [
        ("grey", DynamicImage::ImageLuma8(rgba.to_luma8())),
        ("grey-alpha", DynamicImage::ImageLumaA8(rgba.to_luma_alpha8())),
        ("grey16", DynamicImage::ImageLuma16(rgba.to_luma16())),
        ("rgb", DynamicImage::ImageRgb8(rgba.to_rgb8())),
        ("rgb16", DynamicImage::ImageRgb16(rgba.to_rgb16())),
        ("rgba", rgba),
    ];
    let formats = [
        ("jpg", ImageFormat::Jpeg),
        ("png", ImageFormat::Png),
        ("webp", ImageFormat::WebP),
        ("gif", ImageFormat::Gif),
        ("bmp", ImageFormat::Bmp),
    ];
    let mut made = Vec::new();
    for (end, format) in formats {
        for (kind, picture) in &kinds {
            let mut bytes = Cursor::new(Vec::new());
            // Not every format has every colour type.
            if picture.write_to(&mut bytes, format).is_ok() {
                made.push((format!("{kind}.{end}"), bytes.into_inner()));
            }
        }
    }
    for (name, bytes) in made.clone() {
        let said = said_about(&bytes);
        if said.len() > bytes.len() {
            made.push((format!("said-{name}"), said));
        }
    }
    Ok(made)
}

/// The same picture with EXIF, XMP and a C2PA box, where its format has places for them.
fn said_about(bytes: &[u8]) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x03\0".to_vec();
    for (tag, kind, count, value) in [(0x010f_u16, 2_u16, 8_u32, 50_u32), (0x0112, 3, 1, 6), (0x0131, 2, 8, 58)] {
        tiff.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        tiff.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    tiff.extend([0; 4]);
    tiff.extend(b"CameraA\0SoftwB\0\0");
    let xmp = br#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>"#;
    let mut c2pa = b"\0\0\0\x40jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0".to_vec();
    c2pa.resize(64, 0);
    let mut out = bytes.to_vec();
    if bytes.starts_with(&[0xff, 0xd8]) {
        let app11 = [b"JP\0\x01\0\0\0\x01".as_slice(), &c2pa].concat();
        let segments = [
            (0xe1, [b"Exif\0\0".as_slice(), &tiff].concat()),
            (0xe1, [b"http://ns.adobe.com/xap/1.0/\0".as_slice(), xmp].concat()),
            (0xeb, app11),
        ];
        for (marker, body) in segments.into_iter().rev() {
            let length = (body.len() as u16 + 2).to_be_bytes();
            out.splice(2..2, [&[0xff, marker], length.as_slice(), &body].concat());
        }
    } else if bytes.starts_with(b"\x89PNG") {
        // After the header chunk.
        for (kind, body) in
            [(b"eXIf", tiff.as_slice()), (b"caBX", &c2pa), (b"tEXt", b"prompt\0{\"1\":{\"class_type\":\"a\"}}")]
        {
            out.splice(33..33, [&(body.len() as u32).to_be_bytes(), kind.as_slice(), body, &[0; 4]].concat());
        }
        out = with_png_checksums(&out);
    } else if bytes.starts_with(b"RIFF") {
        for (kind, body) in [(b"EXIF", tiff.as_slice()), (b"XMP ", xmp), (b"C2PA", &c2pa)] {
            out.extend([kind.as_slice(), &(body.len() as u32).to_le_bytes(), body, &[0][..body.len() % 2]].concat());
        }
        let length = (out.len() as u32 - 8).to_le_bytes();
        out[4..8].copy_from_slice(&length);
    }
    out
}

/// Model files with a few small tensors: whole ones are too large to be mutated.
fn models() -> Result<Vec<(String, Vec<u8>)>, Box<dyn std::error::Error>> {
    let mut made = Vec::new();
    let tensors =
        || vec![("fc.weight".to_string(), vec![2, 3], vec![0.5; 6]), ("fc.bias".to_string(), vec![2], vec![0.1; 2])];
    for (name, precision) in [("f32", Precision::F32), ("f16", Precision::F16), ("int8", Precision::Int8)] {
        made.push((name.to_string(), file::write(&ModelMeta::default(), precision, tensors())?));
    }
    let counter = [0; 8];
    let views = [
        ("counter", TensorView::new(Dtype::I64, vec![1], &counter)?),
        ("a.scale", TensorView::new(Dtype::F32, vec![1], &counter[..4])?),
    ];
    made.push((
        "foreign".to_string(),
        safetensors::serialize(views, Some(HashMap::from([("grnet".into(), "{}".into())])))?,
    ));
    Ok(made)
}
