//! What a file says about itself is read inside its structures alone, and hostile bytes do no harm. All files are made
//! here, byte by byte.

use grnet::detector::{Detector, prepare};
use grnet::picture::face::Finder;
use grnet::picture::provenance::read;
use grnet::report::{Mark, MarkKind, Report};

const ASTRONAUT: &[u8] = include_bytes!("pictures/astronaut.jpg");
const PARAMETERS: &str = "a portrait\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512";
const XMP_PACKET: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:CreatorTool="Darkroom 5"><e:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</e:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#;

/// A JPEG segment.
fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, marker];
    bytes.extend(u16::try_from(body.len() + 2).expect("a short body").to_be_bytes());
    bytes.extend(body);
    bytes
}

/// The portrait with these segments after its start.
fn jpeg(segments: &[Vec<u8>]) -> Vec<u8> {
    [&ASTRONAUT[..2], &segments.concat(), &ASTRONAUT[2..]].concat()
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let typed = [kind.as_slice(), body].concat();
    let length = u32::try_from(body.len()).expect("a short body").to_be_bytes();
    [length.as_slice(), &typed, &crc32fast::hash(&typed).to_be_bytes()].concat()
}

/// A PNG file of one pixel with these chunks before its pixels.
fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    let pixels = chunk(b"IDAT", &[0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, 0, 0, 2, 0, 1]);
    [b"\x89PNG\r\n\x1a\n".to_vec(), header, chunks.concat(), pixels, chunk(b"IEND", &[])].concat()
}

fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, content) in chunks {
        body.extend(*kind);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(content);
        body.extend(vec![0; content.len() % 2]);
    }
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// A little-endian EXIF block of ASCII fields, sorted by tag, and perhaps a user comment in its EXIF directory.
fn exif(fields: &[(u16, &str)], comment: Option<&[u8]>) -> Vec<u8> {
    let count = fields.len() + usize::from(comment.is_some());
    let mut heap = Vec::new();
    let heap_at = 8 + 2 + 12 * count + 4;
    let mut directory = (count as u16).to_le_bytes().to_vec();
    for (tag, text) in fields {
        directory.extend(tag.to_le_bytes());
        directory.extend(2u16.to_le_bytes());
        // Values over 4 bytes lie on the heap; all of these are made that long.
        let text = format!("{text:<5}\0");
        directory.extend((text.len() as u32).to_le_bytes());
        directory.extend(((heap_at + heap.len()) as u32).to_le_bytes());
        heap.extend(text.as_bytes());
    }
    if let Some(comment) = comment {
        let inner_at = heap_at + heap.len();
        directory.extend(0x8769u16.to_le_bytes());
        directory.extend(4u16.to_le_bytes());
        directory.extend(1u32.to_le_bytes());
        directory.extend((inner_at as u32).to_le_bytes());
        heap.extend(1u16.to_le_bytes());
        heap.extend(0x9286u16.to_le_bytes());
        heap.extend(7u16.to_le_bytes());
        heap.extend((comment.len() as u32).to_le_bytes());
        heap.extend(((inner_at + 2 + 12 + 4) as u32).to_le_bytes());
        heap.extend(0u32.to_le_bytes());
        heap.extend(comment);
    }
    directory.extend(0u32.to_le_bytes());
    [b"II*\0\x08\0\0\0".as_slice(), &directory, &heap].concat()
}

fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [((body.len() + 8) as u32).to_be_bytes().as_slice(), kind, body].concat()
}

/// A C2PA manifest store without a manifest.
fn manifest_store() -> Vec<u8> {
    let description = [b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71".as_slice(), &[3], b"c2pa\0"].concat();
    boxed(b"jumb", &[boxed(b"jumd", &description), boxed(b"free", &[0; 20])].concat())
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).expect("memory takes everything");
    writer.finish().expect("memory takes everything")
}

fn marks(file: &[u8]) -> Vec<(MarkKind, String)> {
    read(file).marks.into_iter().map(|Mark { kind, value, .. }| (kind, value)).collect()
}

fn expected(marks: &[(MarkKind, &str)]) -> Vec<(MarkKind, String)> {
    marks.iter().map(|(kind, value)| (*kind, value.to_string())).collect()
}

/// A file and the marks that it carries.
type Marked = (Vec<u8>, Vec<(MarkKind, String)>);

fn everything() -> Vec<Marked> {
    let camera = exif(&[(0x010f, "Canon"), (0x0110, "EOS 5D"), (0x0131, "Firmware 1.1")], None);
    let cameras =
        [(MarkKind::CameraMake, "Canon"), (MarkKind::CameraModel, "EOS 5D"), (MarkKind::Software, "Firmware 1.1")];
    let utf16: Vec<u8> = PARAMETERS.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let comment = [b"UNICODE\0".as_slice(), &utf16].concat();
    let store = manifest_store();
    let app11 = [b"JP\0\x01\0\0\0\x01".as_slice(), &store].concat();
    let xmp = [(MarkKind::DigitalSourceType, "trainedAlgorithmicMedia"), (MarkKind::Software, "Darkroom 5")];
    let webui = [(MarkKind::Generator, "Stable Diffusion WebUI")];
    let compressed = compressed(PARAMETERS.as_bytes());
    let graph = r#"prompt:{"3":{"class_type":"KSampler","inputs":{}}}"#;
    let text = |keyword: &str, rest: &[&[u8]]| [keyword.as_bytes(), &rest.concat()].concat();
    vec![
        (jpeg(&[segment(0xe1, &[b"Exif\0\0".as_slice(), &camera].concat())]), expected(&cameras)),
        (
            jpeg(&[segment(0xe1, &text("http://ns.adobe.com/xap/1.0/", &[b"\0", XMP_PACKET.as_bytes()]))]),
            expected(&xmp),
        ),
        (jpeg(&[segment(0xeb, &app11)]), expected(&[(MarkKind::C2pa, "manifest")])),
        (jpeg(&[segment(0xe1, &[b"Exif\0\0".as_slice(), &exif(&[], Some(&comment))].concat())]), expected(&webui)),
        (png(&[chunk(b"tEXt", &text("parameters", &[b"\0", PARAMETERS.as_bytes()]))]), expected(&webui)),
        (png(&[chunk(b"zTXt", &text("parameters", &[b"\0\0", &compressed]))]), expected(&webui)),
        (png(&[chunk(b"iTXt", &text("parameters", &[b"\0\x01\0\0\0", &compressed]))]), expected(&webui)),
        (png(&[chunk(b"iTXt", &text("XML:com.adobe.xmp", &[b"\0\0\0\0\0", XMP_PACKET.as_bytes()]))]), expected(&xmp)),
        (
            png(&[chunk(b"tEXt", &text("workflow", &[b"\0", br#"{"nodes":[],"links":[]}"#]))]),
            expected(&[(MarkKind::Generator, "ComfyUI")]),
        ),
        (png(&[chunk(b"tEXt", b"Software\0NovelAI")]), expected(&[(MarkKind::Generator, "NovelAI")])),
        (png(&[chunk(b"tEXt", b"Software\0Paint")]), expected(&[(MarkKind::Software, "Paint")])),
        (png(&[chunk(b"caBX", &store)]), expected(&[(MarkKind::C2pa, "manifest")])),
        (png(&[chunk(b"eXIf", &camera)]), expected(&cameras)),
        (riff(&[(b"VP8 ", vec![0; 5]), (b"EXIF", camera)]), expected(&cameras)),
        (riff(&[(b"XMP ", XMP_PACKET.into())]), expected(&xmp)),
        (riff(&[(b"C2PA", store)]), expected(&[(MarkKind::C2pa, "manifest")])),
        (riff(&[(b"EXIF", exif(&[(0x0110, graph)], None))]), expected(&[(MarkKind::Generator, "ComfyUI")])),
    ]
}

#[test]
fn every_kind_of_mark_is_found_in_its_place() {
    for (index, (file, expected)) in everything().into_iter().enumerate() {
        assert_eq!(marks(&file), expected, "file {index}");
    }
    assert_eq!(marks(ASTRONAUT), [], "the portrait itself says nothing");
}

#[test]
fn places_and_details_tell_where_it_was_found() {
    let body = [b"parameters\0".as_slice(), PARAMETERS.as_bytes()].concat();
    let [mark] = &read(&png(&[chunk(b"tEXt", &body)])).marks[..] else { panic!("one mark expected") };
    assert_eq!(mark.place, "PNG tEXt, `parameters`");
    assert_eq!(mark.detail.as_deref(), Some(PARAMETERS.replace('\n', " ").as_str()));
}

#[test]
fn exif_is_read_in_both_orders_of_bytes_and_its_place_is_named_once() {
    // One field, of four bytes that lie in the directory itself.
    let field = [0x010fu16.to_be_bytes(), 2u16.to_be_bytes()].concat();
    let directory = [&1u16.to_be_bytes(), &field[..], &4u32.to_be_bytes(), b"Fuj\0", &[0; 4]].concat();
    let big_endian = [b"MM\0*\0\0\0\x08".as_slice(), &directory].concat();
    let jpeg_segment = segment(0xe1, &[b"Exif\0\0".as_slice(), &big_endian].concat());
    let places = [
        (png(&[chunk(b"eXIf", &big_endian)]), "PNG eXIf"),
        (riff(&[(b"EXIF", big_endian.clone())]), "WebP EXIF"),
        (jpeg(&[jpeg_segment]), "JPEG APP1, EXIF"),
    ];
    for (file, place) in places {
        let [mark] = &read(&file).marks[..] else { panic!("one mark expected in {place}") };
        assert_eq!((mark.kind, mark.value.as_str(), mark.place.as_str()), (MarkKind::CameraMake, "Fuj", place));
    }
    // The largest block that is read, and one byte more.
    for (length, count) in [(1 << 20, 1), ((1 << 20) + 1, 0)] {
        let mut block = big_endian.clone();
        block.resize(length, 0);
        assert_eq!(marks(&png(&[chunk(b"eXIf", &block)])).len(), count, "{length} bytes");
    }
}

#[test]
fn the_same_bytes_elsewhere_change_nothing() {
    let text_chunk = chunk(b"tEXt", &[b"parameters\0".as_slice(), PARAMETERS.as_bytes()].concat());
    let everything_as_bytes: Vec<u8> = everything().into_iter().flat_map(|(file, _)| file).collect();
    let mut bad_crc = text_chunk.clone();
    *bad_crc.last_mut().expect("a CRC") ^= 1;
    let store = manifest_store();
    let planted = [
        // After the end, where no container looks.
        [ASTRONAUT, &everything_as_bytes].concat(),
        [png(&[]), text_chunk.clone()].concat(),
        [riff(&[(b"VP8 ", vec![0; 4])]), riff(&[(b"C2PA", store.clone())])].concat(),
        // Inside a part that means something else.
        jpeg(&[segment(0xfe, &everything_as_bytes[everything_as_bytes.len() - 60_000..])]),
        jpeg(&[segment(0xe2, &[b"Exif\0\0".as_slice(), &exif(&[(0x010f, "Canon")], None)].concat())]),
        jpeg(&[segment(0xe1, XMP_PACKET.as_bytes())]),
        jpeg(&[segment(0xeb, &store)]),
        // Another box, a later part of one, and the first part of one that is no manifest store.
        jpeg(&[segment(0xeb, &[b"XT\0\x01\0\0\0\x01".as_slice(), &store].concat())]),
        jpeg(&[segment(0xeb, &[b"JP\0\x01\0\0\0\x02".as_slice(), &store].concat())]),
        jpeg(&[segment(0xeb, &[b"JP\0\x01\0\0\0\x01".as_slice(), &boxed(b"jumb", &[0; 40])].concat())]),
        png(&[chunk(b"caBX", &boxed(b"jumb", &[0; 40]))]),
        riff(&[(b"C2PA", boxed(b"jumb", &[0; 40]))]),
        png(&[chunk(b"tEXt", &[b"Comment\0".as_slice(), XMP_PACKET.as_bytes()].concat())]),
        png(&[chunk(b"tEXt", &[b"Title\0".as_slice(), PARAMETERS.as_bytes()].concat())]),
        png(&[chunk(b"prVt", &store)]),
        riff(&[(b"VP8 ", text_chunk)]),
        // Under the right name, without the shape that a generator writes.
        png(&[chunk(b"tEXt", b"parameters\0none"), chunk(b"tEXt", b"prompt\0a cat"), chunk(b"tEXt", b"workflow\0[]")]),
        png(&[bad_crc]),
        // Not in a description of the XMP packet, or no term of the vocabulary.
        riff(&[(b"XMP ", XMP_PACKET.replace("rdf:Description", "rdf:Bag").into())]),
        riff(&[(b"XMP ", XMP_PACKET.replace("cv.iptc.org", "example.org").replace("CreatorTool", "Other").into())]),
        riff(&[(b"XMP ", XMP_PACKET.replace("trained", "trained ").replace("CreatorTool", "Other").into())]),
        riff(&[(b"XMP ", XMP_PACKET.replace("trained", &"t".repeat(64)).replace("CreatorTool", "Other").into())]),
        // No picture at all.
        everything_as_bytes[3..].to_vec(),
        XMP_PACKET.into(),
    ];
    for (index, file) in planted.iter().enumerate() {
        assert_eq!(marks(file), [], "file {index}");
    }
}

/// The portrait in three formats, each with everything of [`everything`] that this format carries, and what that says.
fn planted() -> Vec<Marked> {
    let portrait = image::load_from_memory(ASTRONAUT).expect("the portrait").crop_imm(100, 0, 300, 300);
    let encoded = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        portrait.write_to(&mut bytes, format).expect("memory takes everything");
        bytes.into_inner()
    };
    let (png, webp) = (encoded(image::ImageFormat::Png), encoded(image::ImageFormat::WebP));
    let plant = |(file, marks): Marked| {
        let file = match file[..4] {
            // Made from the portrait already.
            [0xff, 0xd8, ..] => file,
            // What lies between the header and the one pixel with the end.
            [0x89, ..] => [&png[..33], &file[33..file.len() - 37], &png[33..]].concat(),
            _ => {
                let planted = [&webp[8..], &file[12..]].concat();
                [b"RIFF".as_slice(), &(planted.len() as u32).to_le_bytes(), &planted].concat()
            }
        };
        (file, marks)
    };
    let clean = [ASTRONAUT.to_vec(), png.clone(), webp.clone()].map(|file| (file, vec![]));
    clean.into_iter().chain(everything().into_iter().map(plant)).collect()
}

#[test]
fn no_mark_moves_a_score() {
    let model = std::fs::read("weights/grnet.safetensors").expect("the shipped model");
    let detector = Detector::on_cpu(&model).expect("a model");
    let mut finder = Finder::new().expect("the built-in face finder");
    let mut judge = |file: &[u8]| {
        let prepared = prepare("planted", file, &mut finder, &detector.prepare_config());
        let report = pollster::block_on(detector.judge(&prepared)).expect("a report");
        (report.p_fake.expect("a face"), report)
    };
    let mut clean: Vec<(f32, Report)> = Vec::new();
    for (index, (file, marks)) in planted().into_iter().enumerate() {
        let (p_fake, report) = judge(&file);
        assert_eq!(self::marks(&file), marks, "file {index} says what was planted");
        assert_eq!(report.provenance.marks.len(), marks.len(), "file {index}");
        if marks.is_empty() {
            clean.push((p_fake, report));
            continue;
        }
        let (wanted, as_clean) = clean.iter().find(|(_, clean)| clean.file.format == report.file.format).expect("one");
        assert_eq!(p_fake.to_bits(), wanted.to_bits(), "file {index}");
        assert_eq!((report.band, &report.faces), (as_clean.band, &as_clean.faces), "file {index}");
    }
    assert_eq!(clean.len(), 3);
    // Negative control: what changes the pixels moves the score.
    assert_ne!(clean[0].0, clean[1].0, "the whole portrait and its middle");
}

#[test]
fn long_values_and_many_marks_are_cut() {
    let many: Vec<Vec<u8>> = (0..200).map(|i| chunk(b"tEXt", format!("Software\0program {i}").as_bytes())).collect();
    assert_eq!(marks(&png(&many)).len(), 24);
    let long = format!("Software\0{}", "x".repeat(100_000));
    let [(_, value)] = &marks(&png(&[chunk(b"tEXt", long.as_bytes())]))[..] else { panic!("one mark expected") };
    assert_eq!(value.chars().count(), 161);
    // A megabyte of nothing from a kilobyte: reading ends at the limit.
    let text = |bytes: &[u8]| chunk(b"zTXt", &[b"parameters\0\0".as_slice(), &compressed(bytes)].concat());
    assert_eq!(marks(&png(&[text(&vec![b' '; 64 << 20])])), []);
    // Eight megabytes of a file's texts are read, one of each.
    let spaces = text(&vec![b' '; 1 << 20]);
    let after =
        |count: usize| marks(&png(&[vec![spaces.clone(); count], vec![text(PARAMETERS.as_bytes())]].concat())).len();
    assert_eq!([after(0), after(7), after(8)], [1, 1, 0]);
}

#[test]
fn a_mark_is_told_once_in_one_line() {
    let software = |name: &str| chunk(b"tEXt", format!("Software\0{name}").as_bytes());
    let found = marks(&png(&["Paint", "Paint", " A\u{7}line  or\ttwo ", "Paint"].map(software)));
    assert_eq!(found, expected(&[(MarkKind::Software, "Paint"), (MarkKind::Software, "A line or two")]));
}

#[test]
fn cut_off_and_changed_files_do_no_harm() {
    // Only the heads: the portrait's pixels are 100 kB of the same.
    let files: Vec<Vec<u8>> = everything().into_iter().map(|(file, _)| file[..file.len().min(2000)].to_vec()).collect();
    let mut state = 1u32;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut found = 0;
    for file in &files {
        for end in 0..file.len() {
            found += read(&file[..end]).marks.len();
        }
        for _ in 0..2000 {
            let mut changed = file.clone();
            for _ in 0..1 + draw(4) {
                let at = draw(changed.len());
                changed[at] = [0, 1, 0x7f, 0x80, 0xff, draw(256) as u8][draw(6)];
            }
            // CRCs would keep changed PNG chunks out, so half of them are made right again.
            if draw(2) == 0 {
                repair(&mut changed);
            }
            found += read(&changed).marks.len();
        }
    }
    assert!(found > 1000, "most changed files still say something; {found} marks");
}

/// Makes the CRCs of a PNG file's chunks right, as far as the chunks go.
fn repair(file: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = file.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize) {
        let Some(crc) = file.get(at + 4..(at + 8).saturating_add(length)).map(crc32fast::hash) else { return };
        let end = at + 8 + length;
        let Some(place) = file.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&crc.to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn texts_that_ask_for_more_work_than_they_have_bytes_are_passed_over_in_time() {
    let packet = |inside: String| format!("<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">{inside}</x:xmpmeta>").into_bytes();
    let xmp_chunk = |packet: &[u8]| chunk(b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", packet].concat());
    let xmp_segment = |packet: &[u8]| segment(0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", packet].concat());
    // An element for each of these in the one before: their parser's time is the third power of their number.
    let nested = |count: usize| {
        let open = (0..count).map(|at| format!("<n xmlns:a{at:x}=\"{at}\">")).collect::<String>();
        packet(open + &"</n>".repeat(count))
    };
    let attributes = packet(format!("<n{}/>", (0..90_000).map(|at| format!(" a{at:x}=\"\"")).collect::<String>()));
    let zeros = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![b' '; 1 << 20]).expect("memory takes it");
        [b"prompt\0\0".as_slice(), &encoder.finish().expect("memory takes it")].concat()
    };
    let broken = [&zeros[..zeros.len() - 4], &[0; 4]].concat();
    // Each of 30,000 fields points to a directory of 50,000, which begins two bytes behind the one before.
    let directories = {
        let (fields, inner) = (30_000u32, 50_000u16);
        let start = 8 + 2 + 12 * fields + 4;
        let mut block = b"II*\0\x08\0\0\0".to_vec();
        block.extend((fields as u16).to_le_bytes());
        for field in 0..fields {
            block.extend([0x8769u16.to_le_bytes(), 4u16.to_le_bytes()].concat());
            block.extend([1u32.to_le_bytes(), (start + 2 * field).to_le_bytes()].concat());
        }
        block.extend([0; 4]);
        block.extend(inner.to_le_bytes().repeat(fields as usize));
        block.resize(1 << 20, 0);
        block
    };
    let files = [
        ("namespaces", jpeg(&[xmp_segment(&nested(2400))])),
        ("some namespaces, often", png(&vec![xmp_chunk(&nested(190)); 3000])),
        ("attributes", png(&[xmp_chunk(&attributes)])),
        ("some attributes, often", png(&vec![xmp_chunk(&attributes[..40_000]); 300])),
        ("compressed texts", png(&vec![chunk(b"zTXt", &zeros); 5000])),
        ("directories inside each other", png(&[chunk(b"eXIf", &directories)])),
        ("compressed texts that break off", png(&vec![chunk(b"zTXt", &broken); 5000])),
    ];
    for (name, file) in files {
        let started = std::time::Instant::now();
        marks(&file);
        // Measured: .1 s at most; without bounds minutes.
        assert!(started.elapsed().as_secs() < 2, "{name}: {:?}", started.elapsed());
    }
    // What honest writers need is far below.
    let honest = packet(format!("<n{}/>", (0..1500).map(|at| format!(" a{at:x}=\"\"")).collect::<String>()));
    let files = jpeg(&[xmp_segment(&honest), xmp_segment(XMP_PACKET.as_bytes())]);
    assert!(marks(&files).contains(&(MarkKind::Software, "Darkroom 5".into())));
}
