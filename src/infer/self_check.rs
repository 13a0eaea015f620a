//! Whether an engine computes what it should, and the one policy for when it does not: known input, known answers, and the
//! CPU in place of a GPU that is silently wrong.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::architecture::GuidedFilterConfig;
use super::{Engine, Network, Units, reference};
use crate::error::{Error, ErrorKind, Result};

/// Largest difference to the f64 reference that the guided residual may show (measured: 1e-6).
const FILTER_TOLERANCE: f32 = 1e-4;
/// Largest difference to the known logits that the network may show.
const NETWORK_TOLERANCE: f32 = 5e-4;
/// Side of the picture that the filter is checked on, in pixels; the network is checked at its own size.
const FILTER_SIDE_PX: usize = 40;

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU when there is one that computes rightly, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU through WebGPU, software adapters included, and nothing else.
    Gpu,
    /// The same, but the CPU where it fails.
    GpuOrCpu,
}

/// What is known of a model's answers.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The guided filter's settings.
    pub mte: &'a GuidedFilterConfig,
    /// Side of the picture that `logits` are of.
    pub side_px: usize,
    /// The classifier's logits on [`known_units`] of that side; empty where the model file holds none.
    pub logits: &'a [f32],
}

/// How far an engine is off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfCheck {
    /// Whether filter and network computed what they should.
    pub ok: bool,
    /// Largest difference of the guided residual to the f64 reference.
    pub filter_max_abs: f32,
    /// Largest difference of the logits to the known ones.
    pub network_max_abs: f32,
}

/// Why the CPU computes although a GPU was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNotGpu {
    /// There is none, or a software adapter alone where a real one was wanted.
    NoAdapter,
    /// It failed.
    Failed,
    /// It gave wrong answers.
    WrongAnswers,
}

impl WhyNotGpu {
    /// The name by which the page knows it.
    pub fn code(self) -> &'static str {
        match self {
            WhyNotGpu::NoAdapter => "no_adapter",
            WhyNotGpu::Failed => "gpu_failed",
            WhyNotGpu::WrongAnswers => "self_check_failed",
        }
    }
}

/// An engine that was found to compute rightly.
#[derive(Debug)]
pub struct Opened {
    /// The engine.
    pub engine: Engine,
    /// How far it is off.
    pub check: SelfCheck,
    /// Why it is not on the GPU that was wanted, and in words what that one did.
    pub why_not_gpu: Option<(WhyNotGpu, String)>,
}

/// A checked engine for `network` on the chosen device.
///
/// # Errors
/// For a GPU that alone was wanted: `Unsupported` where this build has none, `NoGpu` where there is none, `GpuLost` when it
/// fails or computes wrongly. `Internal` for a CPU that computes wrongly.
pub async fn open(network: Network, choice: DeviceChoice, known: Known<'_>) -> Result<Opened> {
    choose(network, choice, known, Engine::on_gpu).await
}

/// The policy. `gpu` gives an engine on a GPU; it is told whether software will do. Where the model file knows no answers,
/// the CPU's count.
async fn choose(
    network: Network,
    choice: DeviceChoice,
    known: Known<'_>,
    gpu: impl AsyncFnOnce(&Network, bool) -> Result<Engine>,
) -> Result<Opened> {
    let own = match known.logits {
        [] => known_logits(&Engine::cpu(network.clone()), known.side_px).await?,
        logits => logits.to_vec(),
    };
    let known = Known { logits: &own, ..known };
    let mut why_not_gpu = None;
    if choice != DeviceChoice::Cpu {
        let (why, error) = match gpu(&network, choice != DeviceChoice::Auto).await {
            Ok(engine) => match check(&engine, known).await {
                Ok(check) if check.ok => return Ok(Opened { engine, check, why_not_gpu }),
                Ok(check) => (WhyNotGpu::WrongAnswers, wrong(&engine, &check, ErrorKind::GpuLost)),
                Err(error) => (WhyNotGpu::Failed, error),
            },
            Err(error) => match error.kind() {
                ErrorKind::NoGpu | ErrorKind::Unsupported => (WhyNotGpu::NoAdapter, error),
                _ => (WhyNotGpu::Failed, error),
            },
        };
        if choice == DeviceChoice::Gpu {
            return Err(error);
        }
        why_not_gpu = Some((why, error.full_message()));
    }
    let engine = Engine::cpu(network);
    let check = check(&engine, known).await?;
    if check.ok { Ok(Opened { engine, check, why_not_gpu }) } else { Err(wrong(&engine, &check, ErrorKind::Internal)) }
}

fn wrong(engine: &Engine, check: &SelfCheck, kind: ErrorKind) -> Error {
    let (name, SelfCheck { filter_max_abs, network_max_abs, .. }) = (engine.name(), check);
    let message = format!(
        "{name} computes wrongly: the known residual is off by {filter_max_abs}, the known scores by {network_max_abs}"
    );
    Error::new(kind, message)
}

/// Runs filter and network on a known picture and compares with known answers.
///
/// # Errors
/// Those of the engine; wrong answers, or none known, are `ok: false`, no error.
pub async fn check(engine: &Engine, known: Known<'_>) -> Result<SelfCheck> {
    let picture = known_units(FILTER_SIDE_PX);
    let unit: Vec<f64> = picture.values.iter().map(|value| f64::from(*value)).collect();
    let exact = reference::residual(&unit, FILTER_SIDE_PX, FILTER_SIDE_PX, known.mte);
    let exact: Vec<f32> = exact.into_iter().map(|value| value as f32).collect();
    let filter_max_abs = max_abs(&engine.residual(&picture).await?, &exact);
    let network_max_abs = max_abs(&known_logits(engine, known.side_px).await?, known.logits);
    let ok = filter_max_abs <= FILTER_TOLERANCE && network_max_abs <= NETWORK_TOLERANCE;
    Ok(SelfCheck { ok, filter_max_abs, network_max_abs })
}

/// The classifier's logits on [`known_units`].
///
/// # Errors
/// Those of the engine.
pub async fn known_logits(engine: &Engine, side_px: usize) -> Result<Vec<f32>> {
    let outputs = engine.run(&known_units(side_px)).await?;
    Ok(outputs.into_iter().flat_map(|outputs| outputs.fused).collect())
}

/// A picture of structured noise that every build makes alike, as bytes R G B, row by row: from SHA-256 in counter mode,
/// mixed with a ramp.
pub fn known_bytes(side: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(side * side * 3);
    let mut counter = 0u32;
    while data.len() < side * side * 3 {
        data.extend(Sha256::digest(counter.to_le_bytes()));
        counter += 1;
    }
    data.truncate(side * side * 3);
    for (index, byte) in data.iter_mut().enumerate() {
        let (y, x) = (index / 3 / side, index / 3 % side);
        let ramp = 160 * (y + x) / (2 * side);
        *byte = (ramp + usize::from(*byte >> 2)) as u8;
    }
    data
}

/// [`known_bytes`] as a crop.
pub fn known_units(side: usize) -> Units {
    let bytes = known_bytes(side);
    let plane = |channel| bytes.iter().skip(channel).step_by(3).map(|value| f32::from(*value) / 255.0);
    Units { n: 1, height: side, width: side, values: (0..3).flat_map(plane).collect() }
}

/// Largest absolute difference; infinite when the lengths differ, nothing is compared, or a value is not a number.
fn max_abs(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() || found.is_empty() {
        return f32::INFINITY;
    }
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { max.max(d) })
}

#[cfg(test)]
mod tests {
    use super::super::architecture::GrNetConfig;
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Engines on the CPU are ready at once.
    fn wait<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("expected an engine that is ready at once"),
        }
    }

    /// A network of small numbers; `bias` is that of the classifier.
    fn network(bias: f32) -> Network {
        let mut tensor = |name: &str, shape: &[usize]| {
            let count: usize = shape.iter().product();
            let wave = |i: usize| ((i % 97) as f32 * 0.37).sin() * 0.02;
            let values: Vec<f32> = match name {
                "fc.bias" => vec![bias; count],
                _ if name.ends_with("running_var") => vec![1.0; count],
                _ => (0..count).map(wave).collect(),
            };
            Ok(values.into())
        };
        Network::new(&GrNetConfig::default(), &GuidedFilterConfig::default(), &mut tensor).expect("a network")
    }

    /// Opens with `found` as what there is of a GPU.
    fn opened(choice: DeviceChoice, found: impl FnOnce(bool) -> Result<Engine>) -> Result<Opened> {
        let (mte, right) = (GuidedFilterConfig::default(), network(0.0));
        let logits = wait(known_logits(&Engine::cpu(right.clone()), 64)).expect("logits");
        let known = Known { mte: &mte, side_px: 64, logits: &logits };
        wait(choose(right, choice, known, async |_, software| found(software)))
    }

    #[test]
    fn a_gpu_that_computes_wrongly_or_fails_is_left_for_the_cpu_unless_it_alone_was_wanted() {
        let wrong = |_| Ok(Engine::cpu(network(0.1)));
        let fails = |_| Err(Error::new(ErrorKind::GpuLost, "gone"));
        let none = |_| Err(Error::new(ErrorKind::NoGpu, "none"));
        for choice in [DeviceChoice::Auto, DeviceChoice::GpuOrCpu] {
            let why = |opened: Result<Opened>| opened.expect("the CPU").why_not_gpu.map(|(why, _)| why);
            assert_eq!(why(opened(choice, wrong)), Some(WhyNotGpu::WrongAnswers));
            assert_eq!(why(opened(choice, fails)), Some(WhyNotGpu::Failed));
            assert_eq!(why(opened(choice, none)), Some(WhyNotGpu::NoAdapter));
        }
        let refused = |opened: Result<Opened>| opened.expect_err("nothing but the GPU was wanted").kind();
        assert_eq!(refused(opened(DeviceChoice::Gpu, wrong)), ErrorKind::GpuLost);
        assert_eq!(refused(opened(DeviceChoice::Gpu, fails)), ErrorKind::GpuLost);
        assert_eq!(refused(opened(DeviceChoice::Gpu, none)), ErrorKind::NoGpu);
    }

    #[test]
    fn a_gpu_that_computes_rightly_is_taken_and_only_auto_refuses_software() {
        for (choice, software) in
            [(DeviceChoice::Auto, false), (DeviceChoice::Gpu, true), (DeviceChoice::GpuOrCpu, true)]
        {
            let mut told = None;
            let right = |software| {
                told = Some(software);
                Ok(Engine::cpu(network(0.0)))
            };
            let opened = opened(choice, right).expect("an engine");
            assert_eq!((opened.why_not_gpu, opened.check.ok, told), (None, true, Some(software)));
        }
        let asked = |_| panic!("the CPU was wanted");
        assert!(opened(DeviceChoice::Cpu, asked).expect("the CPU").check.ok);
    }

    #[test]
    fn a_cpu_that_computes_wrongly_is_an_error_and_without_known_answers_the_cpu_s_count() {
        let mte = GuidedFilterConfig::default();
        let open = |logits: &[f32]| {
            let known = Known { mte: &mte, side_px: 64, logits };
            wait(choose(network(0.0), DeviceChoice::Cpu, known, async |_, _| panic!("the CPU was wanted")))
        };
        assert_eq!(open(&[9.0, 9.0]).expect_err("wrong answers").kind(), ErrorKind::Internal);
        assert!(open(&[]).expect("a detector").check.ok);
        assert_eq!(max_abs(&[f32::NAN], &[0.0]), f32::INFINITY);
        assert_eq!(max_abs(&[], &[]), f32::INFINITY);
    }
}
