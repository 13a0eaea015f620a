//! Every system of the paper's comparison under one roof: its name, input, training settings and network. Here residuals
//! meet networks; the networks themselves are in [`crate::train::nn`].

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::infer::architecture::{AttentionForm, Fusion, GrNetConfig, GuidedFilterConfig};
use crate::model::{StoredTensor, Tensors, write_tensors};
use crate::train::backend::learning_trunk;
use crate::train::nn::GrNet;
use crate::train::nn::baselines::amtennet::{self, AmtenNet};
use crate::train::nn::baselines::capsule::{self, COMPONENTS, Capsule, probabilities};
use crate::train::nn::baselines::highpass::{self, HighPassNet};
use crate::train::nn::baselines::meso::{self, Meso4, MesoInception4};
use crate::train::nn::baselines::mislnet::{self, MislNet};
use crate::train::nn::baselines::multitask::{self, MultiTask};
use crate::train::nn::baselines::resnet::{self, ResNet};
use crate::train::nn::baselines::xception::{self, Xception};
use crate::train::nn::input;
use crate::train::nn::mte;
use crate::train::nn::parameters::{fill_module, load_trunk, read_module};
use crate::train::nn::recipe::{Normalise, Recipe, started};
use crate::train::nn::residuals::amten::Amten;
use crate::train::nn::residuals::constrained::ConstrainedConv;
use crate::train::nn::residuals::highpass::{HighPass, Kernel};
use crate::train::nn::residuals::srm::Srm;
use crate::train::nn::residuals::{FrontEnd, Given};
use crate::train::nn::resnet::ResNet18;
use crate::{Error, ErrorKind, Result};

/// A residual front end (Table II).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// A fixed high-pass filter.
    HighPass(Kernel),
    /// The SRM triplet.
    Srm,
    /// Constrained convolution.
    Constrained,
    /// AMTEN.
    Amten,
    /// The guided residual.
    Mte,
}

impl Front {
    /// The five of Table II, with the default high-pass filter.
    pub const ALL: [Front; 5] =
        [Front::HighPass(Kernel::Square3x3), Front::Srm, Front::Constrained, Front::Amten, Front::Mte];

    /// The name in options and reports.
    pub fn name(self) -> String {
        match self {
            Front::HighPass(kernel) if kernel == Kernel::default() => "highpass".into(),
            Front::HighPass(kernel) => format!("highpass-{}", kernel.name()),
            Front::Srm => "srm".into(),
            Front::Constrained => "constrained".into(),
            Front::Amten => "amten".into(),
            Front::Mte => "mte".into(),
        }
    }

    fn init<B: Backend>(self, device: &B::Device) -> FrontEnd<B> {
        match self {
            Front::HighPass(kernel) => FrontEnd::HighPass(HighPass { kernel }),
            Front::Srm => FrontEnd::Srm(Srm),
            Front::Constrained => FrontEnd::Constrained(ConstrainedConv::init(device)),
            Front::Amten => FrontEnd::Amten(Amten::init(device)),
            Front::Mte => FrontEnd::Given(Given),
        }
    }
}

/// What GRnet's two streams read and how they meet (Tables I and III).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// The second stream reads the guided residual; otherwise both read the picture.
    pub mte: bool,
    /// How the streams become one; the ablation without AFM is the sum.
    pub fusion: Fusion,
    /// Which attention AFM uses.
    pub attention: AttentionForm,
}

impl Streams {
    /// GRnet itself.
    pub const GRNET: Streams = Streams { mte: true, fusion: Fusion::Afm, attention: AttentionForm::Danet };
}

/// A system of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Meso-4.
    Meso4,
    /// MesoInception-4.
    MesoInception4,
    /// HighPass.
    HighPass(Kernel),
    /// MISLnet on RGB.
    MislNet,
    /// XceptionNet.
    Xception,
    /// Capsule-Forensics-v2.
    Capsule,
    /// AMTENnet's network behind a front end; behind AMTEN it is AMTENnet.
    AmtenNet(Front),
    /// ResNet-18, perhaps behind a front end.
    ResNet(Option<Front>),
    /// GRnet and its ablations.
    GrNet(Streams),
    /// Multi-task; of two classes only.
    MultiTask,
    /// FWA-style: ResNet-18 that learns from real pictures and from what it makes of them; of two classes only.
    Fwa,
}

/// What a system wants to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSpec {
    /// Side of the authors' input.
    pub native_px: usize,
    /// The side must be a multiple of this.
    pub multiple_px: usize,
    /// Smallest side.
    pub least_px: usize,
    /// What happens to the picture first.
    pub normalise: Normalise,
}

impl System {
    /// The eight detectors of Tables IV to VII, in the paper's order.
    pub const DETECTORS: [System; 8] = [
        System::Meso4,
        System::MesoInception4,
        System::HighPass(Kernel::Square3x3),
        System::MislNet,
        System::Xception,
        System::Capsule,
        System::AmtenNet(Front::Amten),
        System::GrNet(Streams::GRNET),
    ];

    /// Those of Table IX that are no detectors of the tables before.
    pub const CROSS_ONLY: [System; 2] = [System::MultiTask, System::Fwa];

    /// Whether its fakes are made from real pictures, so that those of the data are not learnt from.
    pub fn makes_its_fakes(self) -> bool {
        self == System::Fwa
    }

    /// Table I: neither module, MTE alone, AFM alone, both. Without MTE both streams read the picture, without AFM they
    /// are summed.
    pub fn ablations() -> [System; 4] {
        [(false, Fusion::Sum), (true, Fusion::Sum), (false, Fusion::Afm), (true, Fusion::Afm)]
            .map(|(mte, fusion)| System::GrNet(Streams { mte, fusion, ..Streams::GRNET }))
    }

    /// Table II: AMTENnet's network behind each front end.
    pub fn front_ends() -> [System; 5] {
        Front::ALL.map(System::AmtenNet)
    }

    /// ResNet-18 alone and behind each front end: what Table II asks, of another network.
    pub fn residual_trunks() -> impl Iterator<Item = System> {
        std::iter::once(None).chain(Front::ALL.map(Some)).map(System::ResNet)
    }

    /// Table III, in the paper's order, and AFM with the attention as printed.
    pub fn fusions() -> Vec<System> {
        let fusions = [Fusion::Max, Fusion::Concat, Fusion::Min, Fusion::Sum, Fusion::Afm];
        let printed = Streams { attention: AttentionForm::Printed, ..Streams::GRNET };
        let of = |fusion| System::GrNet(Streams { fusion, ..Streams::GRNET });
        fusions.map(of).into_iter().chain([System::GrNet(printed)]).collect()
    }

    /// Every system there is, each once.
    pub fn all() -> Vec<System> {
        let kernels =
            || Kernel::ALL.map(|kernel| [System::HighPass(kernel), System::AmtenNet(Front::HighPass(kernel))]);
        let mut all: Vec<System> = Vec::new();
        let listed = System::DETECTORS.into_iter().chain(System::ablations()).chain(System::front_ends());
        let listed = listed.chain(System::CROSS_ONLY);
        for system in
            listed.chain(System::fusions()).chain(System::residual_trunks()).chain(kernels().into_iter().flatten())
        {
            if !all.contains(&system) {
                all.push(system);
            }
        }
        all
    }

    /// The name in options, folders and reports.
    pub fn name(self) -> String {
        match self {
            System::Meso4 => "meso4".into(),
            System::MesoInception4 => "mesoinception4".into(),
            System::HighPass(kernel) => Front::HighPass(kernel).name(),
            System::MislNet => "mislnet".into(),
            System::MultiTask => "multitask".into(),
            System::Fwa => "fwa".into(),
            System::Xception => "xception".into(),
            System::Capsule => "capsule".into(),
            System::AmtenNet(Front::Amten) => "amtennet".into(),
            System::AmtenNet(front) => format!("amtennet-{}", front.name()),
            System::ResNet(None) => "resnet18".into(),
            System::ResNet(Some(front)) => format!("resnet18-{}", front.name()),
            System::GrNet(streams) => {
                let residual = if streams.mte { "" } else { "-no-mte" };
                let fusion = match (streams.fusion, streams.attention) {
                    (Fusion::Afm, AttentionForm::Danet) => "",
                    (Fusion::Afm, AttentionForm::Printed) => "-printed",
                    (Fusion::Sum, _) => "-sum",
                    (Fusion::Max, _) => "-max",
                    (Fusion::Min, _) => "-min",
                    (Fusion::Concat, _) => "-concat",
                };
                format!("grnet{residual}{fusion}")
            }
        }
    }

    /// The system of that name.
    ///
    /// # Errors
    /// `BadUsage`, listing the names.
    pub fn named(name: &str) -> Result<System> {
        let all = System::all();
        all.iter().copied().find(|system| system.name() == name).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|system| system.name()).collect();
            let message = format!("expected a system out of {}, found {name}", names.join(", "));
            Error::new(ErrorKind::BadUsage, message)
        })
    }

    /// Its input.
    pub fn input(self) -> InputSpec {
        let spec =
            |native_px, multiple_px, least_px, normalise| InputSpec { native_px, multiple_px, least_px, normalise };
        match self {
            System::Meso4 | System::MesoInception4 => {
                spec(meso::NATIVE_PX, meso::STRIDE_PX, meso::STRIDE_PX, Normalise::Unit)
            }
            System::HighPass(_) => spec(highpass::NATIVE_PX, highpass::STRIDE_PX, highpass::STRIDE_PX, Normalise::Unit),
            System::MislNet => spec(mislnet::NATIVE_PX, 1, 64, Normalise::Rgb255),
            System::Xception => spec(xception::NATIVE_PX, 1, 64, Normalise::Half),
            System::Capsule => spec(capsule::NATIVE_PX, 1, 2 * capsule::STRIDE_PX, Normalise::ImageNet),
            System::AmtenNet(_) => spec(amtennet::NATIVE_PX, 1, 32, Normalise::Bgr255),
            System::MultiTask => {
                spec(multitask::NATIVE_PX, multitask::STRIDE_PX, multitask::STRIDE_PX, Normalise::ImageNet)
            }
            System::Fwa => spec(resnet::FWA_PX, 32, 32, Normalise::ImageNet),
            System::ResNet(None) | System::GrNet(_) => spec(resnet::NATIVE_PX, 32, 32, Normalise::ImageNet),
            System::ResNet(Some(_)) => spec(resnet::NATIVE_PX, 32, 32, Normalise::Rgb255),
        }
    }

    /// Its authors' training settings.
    pub fn recipe(self) -> Recipe {
        match self {
            System::Meso4 | System::MesoInception4 => meso::RECIPE,
            System::HighPass(_) => highpass::RECIPE,
            System::MislNet => mislnet::RECIPE,
            System::MultiTask => multitask::RECIPE,
            System::Fwa => resnet::FWA_RECIPE,
            System::Xception => xception::RECIPE,
            System::Capsule => capsule::RECIPE,
            System::AmtenNet(_) => amtennet::RECIPE,
            System::ResNet(_) | System::GrNet(_) => resnet::RECIPE,
        }
    }

    /// A network for `classes` classes (at least 2) and squares of `side_px`, all weights zero. `pretrained`: ImageNet
    /// weights will follow, so parts that the authors freeze are frozen.
    ///
    /// # Errors
    /// `BadUsage` for a side or a number of classes that the system cannot have.
    pub fn init<B: Backend>(
        self,
        classes: usize,
        side_px: usize,
        pretrained: bool,
        device: &B::Device,
    ) -> Result<Competitor<B>> {
        let spec = self.input();
        if side_px < spec.least_px || !side_px.is_multiple_of(spec.multiple_px) {
            let message = format!(
                "{}: expected a side of at least {} px, a multiple of {}, found {side_px}",
                self.name(),
                spec.least_px,
                spec.multiple_px
            );
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        if classes < 2 {
            return Err(Error::new(ErrorKind::BadUsage, format!("expected at least two classes, found {classes}")));
        }
        if classes != 2 && System::CROSS_ONLY.contains(&self) {
            let message = format!("{}: expected two classes, found {classes}", self.name());
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        let mut grnet = GrNetConfig { classes, ..GrNetConfig::default() };
        let network = match self {
            System::Meso4 => Network::Meso4(Meso4::init(classes, side_px, device)),
            System::MesoInception4 => Network::MesoInception4(MesoInception4::init(classes, side_px, device)),
            System::HighPass(kernel) => Network::HighPass(HighPassNet::init(classes, side_px, kernel, device)),
            System::MislNet => Network::MislNet(MislNet::init(3, classes, side_px, device)),
            System::Xception => Network::Xception(Xception::init(classes, device)),
            System::Capsule => Network::Capsule(Capsule::init(classes, pretrained, device)),
            System::AmtenNet(front) => Network::AmtenNet(AmtenNet::init(front.init(device), classes, side_px, device)),
            System::ResNet(front) => {
                Network::ResNet(ResNet::init(front.map(|front| front.init(device)), classes, device))
            }
            System::Fwa => Network::ResNet(ResNet::init(None, classes, device)),
            System::MultiTask => Network::MultiTask(MultiTask::init(device)),
            System::GrNet(streams) => {
                grnet = GrNetConfig { fusion: streams.fusion, attention: streams.attention, ..grnet };
                Network::GrNet(grnet.init(device))
            }
        };
        Ok(Competitor { system: self, network, grnet, mte: GuidedFilterConfig::default() })
    }
}

/// The network of any system, with the tensor names of its own file.
#[allow(clippy::large_enum_variant, reason = "one or two of these exist at a time")]
#[derive(Module, Debug)]
pub enum Network<B: Backend> {
    /// Meso-4.
    Meso4(Meso4<B>),
    /// MesoInception-4.
    MesoInception4(MesoInception4<B>),
    /// HighPass.
    HighPass(HighPassNet<B>),
    /// MISLnet.
    MislNet(MislNet<B>),
    /// XceptionNet.
    Xception(Xception<B>),
    /// Capsule-Forensics-v2.
    Capsule(Capsule<B>),
    /// AMTENnet and Table II.
    AmtenNet(AmtenNet<B>),
    /// ResNet-18.
    ResNet(ResNet<B>),
    /// GRnet.
    GrNet(GrNet<B>),
    /// Multi-task.
    MultiTask(MultiTask<B>),
}

/// A system with its weights and the settings that are no weights.
#[derive(Debug, Clone)]
pub struct Competitor<B: Backend> {
    /// Which system.
    pub system: System,
    /// Its weights.
    pub network: Network<B>,
    /// Fusion, stream weights and residual gain; of GRnet only.
    pub grnet: GrNetConfig,
    /// The guided filter of systems that have one.
    pub mte: GuidedFilterConfig,
}

/// What a system says of a batch.
#[derive(Debug, Clone)]
pub struct Opinion<B: Backend> {
    /// Their softmax are the class probabilities: `[n, classes]`.
    pub logits: Tensor<B, 2>,
    /// The loss is the sum of the cross entropies of these, each `[n, classes]`: one for most, the four components of
    /// Capsule, the classifier and both streams of GRnet with AFM.
    pub heads: Vec<Tensor<B, 2>>,
}

impl<B: Backend> Competitor<B> {
    /// # Shapes
    /// `unit`, R G B on 0..1: `[n, 3, side, side]`.
    pub fn forward(&self, unit: Tensor<B, 4>) -> Opinion<B> {
        let single = |logits: Tensor<B, 2>| Opinion { heads: vec![logits.clone()], logits };
        let normalised = |unit| self.system.input().normalise.apply(unit);
        match &self.network {
            Network::Meso4(net) => single(net.forward(normalised(unit))),
            Network::MesoInception4(net) => single(net.forward(normalised(unit))),
            Network::HighPass(net) => single(net.forward(normalised(unit))),
            Network::MislNet(net) => single(net.forward(normalised(unit))),
            Network::Xception(net) => single(net.forward(normalised(unit))),
            Network::MultiTask(net) => single(net.forward(normalised(unit))),
            Network::AmtenNet(net) => single(net.forward(self.before_front(unit))),
            Network::ResNet(net) => single(net.forward(self.before_front(unit))),
            Network::Capsule(net) => {
                let z = net.forward(normalised(unit));
                let heads = (0..COMPONENTS).map(|i| z.clone().narrow(1, i, 1).squeeze_dim(1)).collect();
                Opinion { logits: probabilities(z).log(), heads }
            }
            Network::GrNet(net) => {
                let second = if self.uses_mte() {
                    mte::tensor::residual(unit.clone(), &self.mte)
                } else {
                    normalised(unit.clone())
                };
                let trunk = |trunk: &ResNet18<B>, x| learning_trunk(trunk, DType::F32, x);
                let maps = net.maps_by(trunk, &self.grnet, normalised(unit), second);
                let output = net.heads(&self.grnet, maps);
                let mut heads = vec![output.fused.clone()];
                // The stream losses exist to weigh the streams, which AFM alone does.
                if self.grnet.fusion == Fusion::Afm {
                    heads.extend([output.spatial, output.residual]);
                }
                Opinion { logits: output.fused, heads }
            }
        }
    }

    fn uses_mte(&self) -> bool {
        matches!(
            self.system,
            System::AmtenNet(Front::Mte) | System::ResNet(Some(Front::Mte)) | System::GrNet(Streams { mte: true, .. })
        )
    }

    /// What a network with a front end is given: the picture, or for MTE the guided residual, both on 0..255.
    ///
    /// # Shapes
    /// `unit`, R G B on 0..1: `[n, 3, side, side] -> [n, 3, side, side]`
    pub fn before_front(&self, unit: Tensor<B, 4>) -> Tensor<B, 4> {
        if self.uses_mte() {
            return mte::tensor::residual(unit, &self.mte).mul_scalar(255.0);
        }
        self.system.input().normalise.apply(unit)
    }

    /// The sum of the heads' mean cross entropies (a scalar, `[1]`) against targets `[n, classes]`; and each of them. Of
    /// Multi-task its own loss.
    pub fn loss(&self, unit: Tensor<B, 4>, targets: Tensor<B, 2>) -> (Tensor<B, 1>, Vec<Tensor<B, 1>>) {
        if let Network::MultiTask(net) = &self.network {
            let loss = net.loss(self.system.input().normalise.apply(unit), targets);
            return (loss.clone(), vec![loss]);
        }
        let [count, _] = targets.dims();
        let entropy = |logits| log_softmax(logits, 1).mul(targets.clone()).sum().mul_scalar(-1.0 / count as f64);
        let parts: Vec<Tensor<B, 1>> = self.forward(unit).heads.into_iter().map(entropy).collect();
        let total = Tensor::cat(parts.clone(), 0).sum();
        (total, parts)
    }

    /// The same function with normalisations folded into convolutions where the network can; for judging.
    pub fn folded(self) -> Self {
        let network = match self.network {
            Network::ResNet(net) => Network::ResNet(net.folded()),
            Network::GrNet(net) => Network::GrNet(net.folded()),
            other => other,
        };
        Competitor { network, ..self }
    }

    /// Puts constrained kernels back on their constraint; to be called after every change of weights.
    pub fn project(self) -> Self {
        let network = match self.network {
            Network::MislNet(net) => Network::MislNet(net.project()),
            Network::AmtenNet(net) => Network::AmtenNet(net.project()),
            Network::ResNet(net) => Network::ResNet(net.project()),
            other => other,
        };
        Competitor { network, ..self }
    }

    /// Draws start values by the source's rule, from `seed` alone, and projects.
    ///
    /// # Errors
    /// None; filling a module can fail only when its source does.
    pub fn started(self, seed: u64) -> Result<Self> {
        let network = started(self.network, self.system.recipe().start, seed)?;
        Ok(Competitor { network, ..self }.project())
    }

    /// Loads a torchvision ResNet-18 (safetensors) into every trunk; a first convolution that is wider keeps its start
    /// values. Systems without such a trunk stay as they are. Also says whether anything was loaded.
    ///
    /// # Errors
    /// `BadWeights` for a missing or misshapen tensor.
    pub fn with_imagenet_resnet(self, bytes: &[u8], device: &B::Device) -> Result<(Self, bool)> {
        let (network, loaded) = match self.network {
            Network::ResNet(mut net) => {
                net.trunk = load_trunk(ResNet18::new(device), &Tensors::parse(bytes)?)?.with_stem_if_wider(net.trunk);
                (Network::ResNet(net), true)
            }
            Network::GrNet(mut net) => {
                let trunk = Tensors::parse(bytes)?;
                net.spatial = load_trunk(net.spatial, &trunk)?;
                net.residual = load_trunk(net.residual, &trunk)?;
                (Network::GrNet(net), true)
            }
            other => (other, false),
        };
        Ok((Competitor { network, ..self }, loaded))
    }

    /// The system as a file: f32 tensors under their own names and, in the metadata, a [`SystemMeta`].
    ///
    /// # Errors
    /// `Internal`; writing to memory does not fail.
    pub fn to_bytes(&self, class_names: &[String], side_px: usize) -> Result<Vec<u8>> {
        let meta = SystemMeta {
            format: FORMAT.into(),
            system: self.system.name(),
            class_names: class_names.to_vec(),
            side_px,
            w_spatial: self.grnet.w_spatial,
            residual_gain: self.grnet.residual_gain,
            mte: self.mte.clone(),
        };
        let document =
            serde_json::to_string(&meta).map_err(|e| Error::caused(ErrorKind::Internal, "a system as JSON", e))?;
        let mut stored = Vec::new();
        read_module(&self.network, &mut |name, shape, values| {
            stored.push(StoredTensor::f32(name.to_string(), shape, values));
        });
        write_tensors(&stored, METADATA_KEY, document)
    }

    /// Reads what [`Competitor::to_bytes`] wrote.
    ///
    /// # Errors
    /// `BadWeights` for anything else, `BadUsage` for a system or side that does not exist.
    pub fn from_bytes(bytes: &[u8], device: &B::Device) -> Result<(Self, SystemMeta)> {
        let bad =
            |what: String| Error::new(ErrorKind::BadWeights, format!("expected a file of a compared system: {what}"));
        let document = system_document(bytes).map_err(|e| bad(e.to_string()))?;
        let document = document.ok_or_else(|| bad(format!("found none under `{METADATA_KEY}`")))?;
        let meta: SystemMeta = serde_json::from_str(&document).map_err(|e| bad(e.to_string()))?;
        if meta.format != FORMAT {
            return Err(bad(format!("of format {FORMAT}, found {}", meta.format)));
        }
        let blank = System::named(&meta.system)?.init::<B>(meta.class_names.len(), meta.side_px, false, device)?;
        let grnet = GrNetConfig { w_spatial: meta.w_spatial, residual_gain: meta.residual_gain, ..blank.grnet };
        let tensors = Tensors::parse(bytes)?;
        let network = fill_module(blank.network, &mut |name, shape| tensors.get(name, shape))?;
        Ok((Competitor { system: blank.system, network, grnet, mte: meta.mte.clone() }, meta))
    }
}

/// Value of [`SystemMeta::format`].
const FORMAT: &str = "grnet.system/1";
const METADATA_KEY: &str = "grnet.system";

/// What the file of a compared system says besides its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemMeta {
    /// Always `grnet.system/1`.
    pub format: String,
    /// Name of the system.
    pub system: String,
    /// Names of the classes; class 0 is real.
    pub class_names: Vec<String>,
    /// Side of the input.
    pub side_px: usize,
    /// Weight of the spatial stream, of GRnet with AFM.
    pub w_spatial: f64,
    /// Gain of the residual, of GRnet.
    pub residual_gain: f64,
    /// The guided filter, of systems that have one.
    pub mte: GuidedFilterConfig,
}

impl SystemMeta {
    /// Whether a file says that it holds a compared system, whatever else may be wrong with it.
    pub fn is_in(bytes: &[u8]) -> bool {
        system_document(bytes).is_ok_and(|document| document.is_some())
    }
}

fn system_document(bytes: &[u8]) -> std::result::Result<Option<String>, safetensors::SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY)).cloned())
}

/// Crops through a system's network: class probabilities, one row a crop.
pub fn class_probabilities<B: Backend>(
    competitor: &Competitor<B>,
    crops: &[crate::picture::Rgb8],
    batch: usize,
    device: &B::Device,
) -> Vec<Vec<f32>> {
    let mut rows = Vec::with_capacity(crops.len());
    for crops in crops.chunks(batch) {
        let logits = competitor.forward(input::batch_unit::<B>(crops, device)).logits;
        let [_, classes] = logits.dims();
        let flat: Vec<f32> = log_softmax(logits, 1).exp().into_data().convert::<f32>().iter::<f32>().collect();
        rows.extend(flat.chunks(classes).map(<[f32]>::to_vec));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_is_found_by_its_name() {
        let all = System::all();
        for system in &all {
            assert_eq!(System::named(&system.name()).unwrap(), *system);
        }
        let wanted =
            ["meso4", "highpass-kv5x5", "amtennet", "amtennet-mte", "resnet18-srm", "grnet", "grnet-no-mte-sum"];
        for name in wanted {
            assert!(all.iter().any(|system| system.name() == name), "{name}");
        }
        assert_eq!(System::named("vgg").unwrap_err().kind(), ErrorKind::BadUsage);
    }

    #[test]
    fn impossible_sides_and_classes_are_refused() {
        use crate::train::backend::Cpu;
        let device = Default::default();
        for (system, classes, side_px) in [(System::Meso4, 2, 100), (System::MislNet, 2, 32), (System::Meso4, 1, 128)] {
            let error = system.init::<Cpu>(classes, side_px, false, &device).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadUsage, "{}", error.full_message());
        }
    }
}
