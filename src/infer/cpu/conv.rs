//! Convolutions by the matrix kernel alone: those with a stride, and 1x1. The rows of one matrix are where the taps of a
//! place point to; nothing is copied.

use super::super::network::Conv;
use super::gemm::{Runs, TAPS, Walk, sums, with_rows};
use super::pack::{self, Aligned, BLOCK, Numbers, Stored, Units, Weights, with_weights};
use super::simd::{Isa, Kernels, Task};
use super::threads;

/// Maps in memory: how many pictures of what size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pictures.
    pub n: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Places of all pictures.
    pub fn places(&self) -> usize {
        self.n * self.height * self.width
    }
}

/// What happens to a sum before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// Add what lies where it is written to.
    pub add: bool,
    /// Negative results become 0.
    pub relu: bool,
}

impl Finish {
    /// Unit of the weights, bias, skip and ReLU for one vector that goes to `to`.
    #[inline(always)]
    pub fn store<I: Isa>(self, isa: I, sum: I::V, [unit, bias]: [I::V; 2], to: &mut [f32]) {
        let mut value = isa.mul_add(sum, unit, bias);
        if self.add {
            value = isa.add(value, isa.load(to));
        }
        if self.relu {
            value = isa.max(value, isa.splat(0.0));
        }
        isa.store(value, to);
    }
}

/// A packed convolution.
#[derive(Debug)]
pub struct Direct {
    weights: Weights,
    units: Aligned,
    bias: Aligned,
    channels_in: usize,
    kernel: usize,
    stride: usize,
}

impl Direct {
    /// Packs a convolution that reads blocks of channels.
    ///
    /// # Panics
    /// For kernels larger than 3x3.
    pub fn new(conv: &Conv, kernels: Kernels) -> Direct {
        Direct::of(conv, Units::new(conv, conv.weight.len()), kernels)
    }

    /// The same with weights that were brought to units before.
    pub fn of(conv: &Conv, Units { numbers, units }: Units<'_>, kernels: Kernels) -> Direct {
        let Conv { channels_in, channels_out, kernel, stride, .. } = *conv;
        let taps = kernel * kernel;
        assert!(taps <= TAPS, "a kernel of at most 3x3");
        let at = |output: usize, tap: usize, input: usize| (output * channels_in + input) * taps + tap;
        let weights = packed(&numbers, kernels.panel(), channels_out, taps, [channels_in, BLOCK], at);
        Direct { weights, units, bias: pack::padded(&conv.bias), channels_in, kernel, stride }
    }

    /// Packs the first convolution, which reads a [`Framed`] picture: a row of the kernel is one tap.
    pub fn stem(conv: &Conv, kernels: Kernels) -> Direct {
        let Conv { channels_in, channels_out, kernel, stride, .. } = *conv;
        let row = kernel * channels_in;
        let Units { numbers, units } = Units::new(conv, conv.weight.len());
        let at = |output: usize, tap: usize, at: usize| {
            let (channel, dx) = (at % channels_in, at / channels_in);
            ((output * channels_in + channel) * kernel + tap) * kernel + dx
        };
        let weights = packed(&numbers, kernels.panel(), channels_out, kernel, [row, row], at);
        Direct { weights, units, bias: pack::padded(&conv.bias), channels_in, kernel, stride }
    }

    fn size_out(&self, from: Size) -> Size {
        let side = |length: usize| (length + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1;
        Size { n: from.n, height: side(from.height), width: side(from.width) }
    }

    /// Reads maps of the size `from` in `input`, writes blocks to `out`.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn run(&self, kernels: Kernels, input: &[f32], from: Size, out: &mut [f32], finish: Finish) {
        let block_stride = pack::block_length(from.places());
        let walk = Walk { blocks: pack::blocks(self.channels_in), block_stride, depth: BLOCK };
        self.run_on(kernels, input, from, walk, out, finish, false);
    }

    /// The same for the first convolution; `input` is a [`Framed`] picture's values.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn run_stem(&self, kernels: Kernels, input: &Framed, out: &mut [f32]) {
        let walk = Walk { blocks: 1, block_stride: 0, depth: self.kernel * self.channels_in };
        let finish = Finish { add: false, relu: true };
        self.run_on(kernels, &input.values, input.size, walk, out, finish, true);
    }

    #[allow(clippy::too_many_arguments, reason = "the one place where both kinds of input meet")]
    fn run_on(
        &self,
        kernels: Kernels,
        input: &[f32],
        from: Size,
        walk: Walk,
        out: &mut [f32],
        finish: Finish,
        framed: bool,
    ) {
        let to = self.size_out(from);
        let length = pack::block_length(to.places());
        let out = &mut out[..length * self.bias.len() / BLOCK];
        threads::chunks(out, length, |block, out| {
            kernels.run(DirectBlock { layer: self, input, from, to, walk, out, block, finish, framed });
        });
    }
}

/// [`pack::panels`] of weights that lie at `at(output, tap, input)`.
fn packed(
    numbers: &Numbers<'_>,
    panel: usize,
    outputs: usize,
    taps: usize,
    depth: [usize; 2],
    at: impl Fn(usize, usize, usize) -> usize,
) -> Weights {
    match numbers {
        Numbers::Whole(levels) => {
            Weights::Levels(pack::panels(panel, outputs, taps, depth, |o, t, i| f64::from(levels[at(o, t, i)])))
        }
        Numbers::Plain(values) => {
            Weights::Plain(pack::panels(panel, outputs, taps, depth, |o, t, i| f64::from(values[at(o, t, i)])))
        }
    }
}

/// A picture with all channels of a pixel side by side and a frame of zeros as wide as the first kernel reaches.
#[derive(Debug)]
pub struct Framed {
    size: Size,
    frame: usize,
    values: Vec<f32>,
}

impl Framed {
    /// Channels of a pixel.
    const CHANNELS: usize = 3;

    /// Zeros for pictures of this size, and for kernels of this side.
    pub fn new(size: Size, kernel: usize) -> Framed {
        let frame = kernel / 2;
        let pixels = size.n * (size.height + 2 * frame) * (size.width + 2 * frame);
        Framed { size, frame, values: vec![0.0; Self::CHANNELS * pixels] }
    }

    /// Writes the planes of one picture, each value `scale[channel] * value + shift[channel]`.
    pub fn set(&mut self, index: usize, planes: &[f32], scale: [f32; 3], shift: [f32; 3]) {
        let Size { height, width, .. } = self.size;
        let row = (width + 2 * self.frame) * Self::CHANNELS;
        for (y, line) in (0..height).zip(self.frame..) {
            let start = (index * (height + 2 * self.frame) + line) * row + self.frame * Self::CHANNELS;
            let to = &mut self.values[start..start + width * Self::CHANNELS];
            let line = |channel: usize| &planes[(channel * height + y) * width..][..width];
            let lines = [line(0), line(1), line(2)];
            for (x, pixel) in to.chunks_exact_mut(Self::CHANNELS).enumerate() {
                for channel in 0..Self::CHANNELS {
                    pixel[channel] = scale[channel] * lines[channel][x] + shift[channel];
                }
            }
        }
    }
}

/// One block of output channels.
struct DirectBlock<'a> {
    layer: &'a Direct,
    input: &'a [f32],
    from: Size,
    to: Size,
    walk: Walk,
    out: &'a mut [f32],
    block: usize,
    finish: Finish,
    framed: bool,
}

impl Task for DirectBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let layer = self.layer;
        self.out[..BLOCK].fill(0.0);
        for part in 0..BLOCK / (2 * I::LANES) {
            let mut place = Place { image: 0, y: 0, x: 0 };
            for (first, rows) in Runs::new(self.to.places(), I::ROWS) {
                with_weights!(&layer.weights, weights => {
                    with_rows!(rows, I::ROWS, ROWS => self.tile::<I, _, ROWS>(isa, weights, part, first, &mut place))
                });
            }
        }
    }
}

impl DirectBlock<'_> {
    #[inline(always)]
    fn tile<I: Isa, T: Stored, const ROWS: usize>(
        &mut self,
        isa: I,
        weights: &[T],
        part: usize,
        first: usize,
        place: &mut Place,
    ) {
        let Direct { kernel, stride, .. } = *self.layer;
        let mut starts = [[0u32; ROWS]; TAPS];
        let taps = if self.framed { kernel } else { kernel * kernel };
        for row in 0..ROWS {
            if self.framed {
                let frame = 2 * (kernel / 2);
                let (height, width) = (self.from.height + frame, self.from.width + frame);
                let mut start =
                    ((place.image * height + place.y * stride) * width + place.x * stride) * Framed::CHANNELS;
                for starts in &mut starts[..taps] {
                    starts[row] = start as u32;
                    start += width * Framed::CHANNELS;
                }
            } else {
                let Size { height, width, .. } = self.from;
                let (mut tap, pad) = (0, kernel / 2);
                for y in place.y * stride..place.y * stride + kernel {
                    for x in place.x * stride..place.x * stride + kernel {
                        // Compared without the padding taken off: what lies before the map wraps to a large number.
                        let (y, x) = (y.wrapping_sub(pad), x.wrapping_sub(pad));
                        let inside = y < height && x < width;
                        let index = if inside { 1 + (place.image * height + y) * width + x } else { 0 };
                        starts[tap][row] = (index * BLOCK) as u32;
                        tap += 1;
                    }
                }
            }
            place.step(self.to);
        }
        let panel = 2 * I::LANES;
        let length = self.walk.blocks * taps * self.walk.depth * panel;
        let index = self.block * (BLOCK / panel) + part;
        let weights = &weights[index * length..(index + 1) * length];
        let sums = sums::<I, T, ROWS>(isa, self.input, &starts[..taps], self.walk, weights);
        let affine = [0, I::LANES].map(|at| {
            let at = index * panel + at;
            [isa.load(&self.layer.units[at..]), isa.load(&self.layer.bias[at..])]
        });
        for (row, sums) in sums.into_iter().enumerate() {
            let to = &mut self.out[(1 + first + row) * BLOCK + part * panel..][..panel];
            self.finish.store(isa, sums[0], affine[0], to);
            self.finish.store(isa, sums[1], affine[1], &mut to[I::LANES..]);
        }
    }
}

/// A place of a batch of maps.
#[derive(Debug, Clone, Copy)]
struct Place {
    image: usize,
    y: usize,
    x: usize,
}

impl Place {
    /// Goes to the next place.
    #[inline(always)]
    fn step(&mut self, size: Size) {
        self.x += 1;
        if self.x == size.width {
            (self.x, self.y) = (0, self.y + 1);
            if self.y == size.height {
                (self.y, self.image) = (0, self.image + 1);
            }
        }
    }
}
