//! 3x3 convolutions with stride 1 by Winograd's minimal filtering (Lavin and Gray 2016): tiles are transformed, multiplied
//! by transformed weights as matrices, one a position of the tile, and transformed back.
//!
//! F(4x4) needs 36 multiplications for 16 outputs instead of 144, F(2x2) 16 for 4 instead of 36. F(4x4) wants four times
//! the plain weights' memory, F(2x2) 1.8 times.

use std::marker::PhantomData;

use super::super::network::Conv;
use super::conv::{Finish, Size};
use super::gemm::{Runs, Walk, sums, with_rows};
use super::pack::{self, Aligned, BLOCK, Numbers, Stored, Units, Weights, with_weights};
use super::simd::{Isa, Kernels, Task};
use super::threads;

/// Transformed values of a group of tiles, at most, if a group has more than one row of tiles: half of a usual second
/// level cache.
const GROUP_VALUES: usize = 1 << 16;

/// Transforms of one tile size; `IN` = `OUT` + 2. The denominators of Winograd's G stand in A^T, so that transformed weights
/// of an int8 model stay whole.
trait Scheme<const IN: usize, const OUT: usize> {
    /// The weights' transform G, `[IN][3]`.
    const WEIGHTS: [[f64; 3]; IN];
    /// The input's transform B^T, along one line.
    fn forward<I: Isa>(isa: I, line: [I::V; IN]) -> [I::V; IN];
    /// The output's transform A^T, along one line.
    fn back<I: Isa>(isa: I, line: [I::V; IN]) -> [I::V; OUT];
}

/// F(4x4, 3x3) on the points 0, 1, -1, 2, -2 and infinity.
struct Four;

impl Scheme<6, 4> for Four {
    const WEIGHTS: [[f64; 3]; 6] =
        [[1.0, 0.0, 0.0], [-1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [1.0, 2.0, 4.0], [1.0, -2.0, 4.0], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn forward<I: Isa>(isa: I, [d0, d1, d2, d3, d4, d5]: [I::V; 6]) -> [I::V; 6] {
        let [four, minus_four, minus_five, two] = [4.0, -4.0, -5.0, 2.0].map(|factor| isa.splat(factor));
        let (even, odd) = (isa.mul_add(minus_four, d2, d4), isa.mul_add(minus_four, d1, d3));
        let (near, far) = (isa.sub(d4, d2), isa.mul(two, isa.sub(d3, d1)));
        [
            isa.mul_add(four, d0, isa.mul_add(minus_five, d2, d4)),
            isa.add(even, odd),
            isa.sub(even, odd),
            isa.add(near, far),
            isa.sub(near, far),
            isa.mul_add(four, d1, isa.mul_add(minus_five, d3, d5)),
        ]
    }

    #[inline(always)]
    fn back<I: Isa>(isa: I, [m0, m1, m2, m3, m4, m5]: [I::V; 6]) -> [I::V; 4] {
        let [third, fourth, sixth, twelfth] = [3.0, 4.0, 6.0, 12.0].map(|part| isa.splat(1.0 / part));
        let (near, near_odd) = (isa.mul(sixth, isa.add(m1, m2)), isa.mul(sixth, isa.sub(m1, m2)));
        let (far, far_odd) = (isa.add(m3, m4), isa.sub(m3, m4));
        [
            isa.mul_add(fourth, m0, isa.mul_add(isa.splat(1.0 / 24.0), far, near)),
            isa.mul_add(twelfth, far_odd, near_odd),
            isa.mul_add(sixth, far, near),
            isa.add(isa.mul_add(third, far_odd, near_odd), m5),
        ]
    }
}

/// F(2x2, 3x3) on the points 0, 1, -1 and infinity.
struct Two;

impl Scheme<4, 2> for Two {
    const WEIGHTS: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn forward<I: Isa>(isa: I, [d0, d1, d2, d3]: [I::V; 4]) -> [I::V; 4] {
        [isa.sub(d0, d2), isa.add(d1, d2), isa.sub(d2, d1), isa.sub(d1, d3)]
    }

    #[inline(always)]
    fn back<I: Isa>(isa: I, [m0, m1, m2, m3]: [I::V; 4]) -> [I::V; 2] {
        let half = isa.splat(0.5);
        [isa.mul_add(half, isa.add(m1, m2), m0), isa.sub(isa.mul(half, isa.sub(m1, m2)), m3)]
    }
}

/// Side of the square of outputs that a tile gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// F(4x4, 3x3).
    Four,
    /// F(2x2, 3x3).
    Two,
}

impl Outputs {
    fn side(self) -> usize {
        match self {
            Outputs::Four => 4,
            Outputs::Two => 2,
        }
    }

    /// Values of a tile.
    fn positions(self) -> usize {
        (self.side() + 2) * (self.side() + 2)
    }
}

/// A transformed and packed convolution.
#[derive(Debug)]
pub struct Winograd {
    outputs: Outputs,
    /// `[panel][position][block][channel of the block][lane of the panel]`
    weights: Weights,
    units: Aligned,
    bias: Aligned,
    channels_in: usize,
}

impl Winograd {
    /// Transforms and packs.
    ///
    /// # Panics
    /// For other convolutions than 3x3 with stride 1.
    pub fn new(conv: &Conv, outputs: Outputs, kernels: Kernels) -> Winograd {
        Winograd::of(conv, outputs, Units::new(conv, conv.weight.len() / 9 * outputs.positions()), kernels)
    }

    /// The same with weights that were brought to units before.
    pub fn of(conv: &Conv, outputs: Outputs, Units { numbers, units }: Units<'_>, kernels: Kernels) -> Winograd {
        assert_eq!((conv.kernel, conv.stride), (3, 1), "Winograd's filtering is for 3x3 with stride 1");
        let (channels, panel) = ([conv.channels_in, conv.channels_out], kernels.panel());
        let weights = match (outputs, &numbers) {
            (Outputs::Four, Numbers::Whole(levels)) => {
                Weights::Levels(packed::<Four, _, _, 6, 4>(levels, channels, panel))
            }
            (Outputs::Four, Numbers::Plain(values)) => {
                Weights::Plain(packed::<Four, _, _, 6, 4>(values, channels, panel))
            }
            (Outputs::Two, Numbers::Whole(levels)) => {
                Weights::Levels(packed::<Two, _, _, 4, 2>(levels, channels, panel))
            }
            (Outputs::Two, Numbers::Plain(values)) => {
                Weights::Plain(packed::<Two, _, _, 4, 2>(values, channels, panel))
            }
        };
        Winograd { outputs, weights, units, bias: pack::padded(&conv.bias), channels_in: conv.channels_in }
    }

    /// Values of scratch that [`Winograd::run`] needs for transformed tiles and for their products.
    pub fn scratch(&self, size: Size) -> [usize; 2] {
        let tile = self.group(size).tiles * self.outputs.positions() * BLOCK;
        [pack::blocks(self.channels_in) * tile, self.bias.len() / BLOCK * tile]
    }

    /// How the tiles of this size are cut into groups.
    fn group(&self, size: Size) -> Group {
        let side = self.outputs.side();
        let (down, across) = (size.height.div_ceil(side), size.width.div_ceil(side));
        let line = across * self.outputs.positions() * pack::blocks(self.channels_in) * BLOCK;
        let lines = (GROUP_VALUES / line).clamp(1, size.n * down);
        let groups = (size.n * down).div_ceil(lines);
        let lines = (size.n * down).div_ceil(groups);
        Group { size, down, across, first: 0, lines, tiles: lines * across }
    }

    /// Reads and writes blocks of maps of one size.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn run(
        &self,
        kernels: Kernels,
        input: &[f32],
        size: Size,
        out: &mut [f32],
        finish: Finish,
        [tiles, products]: &mut [Aligned; 2],
    ) {
        let length = pack::block_length(size.places());
        let whole = self.group(size);
        let all = size.n * whole.down;
        for first in (0..all).step_by(whole.lines) {
            let lines = whole.lines.min(all - first);
            let group = Group { first, lines, tiles: lines * whole.across, ..whole };
            let tile_block = group.tiles * self.outputs.positions() * BLOCK;
            let tiles = &mut tiles[..pack::blocks(self.channels_in) * tile_block];
            threads::chunks(tiles, tile_block, |block, tiles| {
                let input = &input[block * length..(block + 1) * length];
                match self.outputs {
                    Outputs::Four => kernels.run(Forward::<Four, 6, 4>::new(input, group, tiles)),
                    Outputs::Two => kernels.run(Forward::<Two, 4, 2>::new(input, group, tiles)),
                }
            });
            let out = &mut out[..self.bias.len() / BLOCK * length];
            threads::chunks_with_scratch((out, length), (products, tile_block), |block, out, products| {
                let (layer, tiles) = (self, &*tiles);
                let products = Products { layer, block, group, tiles, products, finish, out };
                match self.outputs {
                    Outputs::Four => kernels.run(Back::<Four, 6, 4> { products, scheme: PhantomData }),
                    Outputs::Two => kernels.run(Back::<Two, 4, 2> { products, scheme: PhantomData }),
                }
            });
        }
    }
}

/// G g G^T of all weights.
fn packed<S: Scheme<IN, OUT>, N: Copy + Into<f64>, T: Stored, const IN: usize, const OUT: usize>(
    weights: &[N],
    [channels_in, channels_out]: [usize; 2],
    panel: usize,
) -> Aligned<T> {
    let length = pack::blocks(channels_in) * BLOCK * panel;
    let mut packed = Aligned::zeros(pack::blocks(channels_out) * BLOCK / panel * IN * IN * length);
    // The lanes of a panel side by side, `[position][lane]`: written one by one to the places of `packed`, which lie far
    // apart, they would take most of the time that a model needs to load.
    let mut lanes = vec![T::default(); IN * IN * panel];
    for (first, packed) in (0..channels_out).step_by(panel).zip(packed.chunks_exact_mut(IN * IN * length)) {
        let count = panel.min(channels_out - first);
        for input in 0..channels_in {
            let kernels = &weights[(first * channels_in + input) * 9..];
            transform::<S, N, T, IN, OUT>(kernels, channels_in * 9, count, panel, &mut lanes);
            for (position, lanes) in lanes.chunks_exact(panel).enumerate() {
                packed[position * length + input * panel..][..count].copy_from_slice(&lanes[..count]);
            }
        }
    }
    packed
}

/// G g G^T of `count` kernels, `step` values apart, into the lanes of `[position][panel]`. A function of its own, entered
/// for each input: a browser compiles better what is entered often.
#[inline(never)]
fn transform<S: Scheme<IN, OUT>, N: Copy + Into<f64>, T: Stored, const IN: usize, const OUT: usize>(
    kernels: &[N],
    step: usize,
    count: usize,
    panel: usize,
    lanes: &mut [T],
) {
    for lane in 0..count {
        let kernel: &[N; 9] = kernels[lane * step..].first_chunk().expect("a 3x3 kernel for each pair of channels");
        let lines: [[f64; IN]; 3] =
            [0, 3, 6].map(|at| along::<IN>(&S::WEIGHTS, [0, 1, 2].map(|x| kernel[at + x].into())));
        for x in 0..IN {
            let column = along::<IN>(&S::WEIGHTS, lines.map(|line| line[x]));
            for (y, value) in column.into_iter().enumerate() {
                lanes[(y * IN + x) * panel + lane] = T::stored(value);
            }
        }
    }
}

/// G times a column.
fn along<const IN: usize>(weights: &[[f64; 3]; IN], column: [f64; 3]) -> [f64; IN] {
    weights.map(|row| row[0] * column[0] + row[1] * column[1] + row[2] * column[2])
}

/// Some lines of tiles, one after the other through all pictures of a batch.
#[derive(Debug, Clone, Copy)]
struct Group {
    size: Size,
    /// Lines of tiles a picture.
    down: usize,
    /// Tiles a line.
    across: usize,
    /// The first line.
    first: usize,
    /// How many lines.
    lines: usize,
    /// How many tiles.
    tiles: usize,
}

impl Group {
    /// Picture, row and column of the first output of a tile.
    #[inline(always)]
    fn corner(&self, tile: usize, side: usize) -> [usize; 3] {
        let line = self.first + tile / self.across;
        [line / self.down, line % self.down * side, tile % self.across * side]
    }
}

/// Transforms the tiles of one block of input channels: `[position][tile][BLOCK]`.
struct Forward<'a, S, const IN: usize, const OUT: usize> {
    input: &'a [f32],
    group: Group,
    tiles: &'a mut [f32],
    scheme: PhantomData<S>,
}

impl<'a, S, const IN: usize, const OUT: usize> Forward<'a, S, IN, OUT> {
    fn new(input: &'a [f32], group: Group, tiles: &'a mut [f32]) -> Self {
        Forward { input, group, tiles, scheme: PhantomData }
    }
}

impl<S: Scheme<IN, OUT>, const IN: usize, const OUT: usize> Task for Forward<'_, S, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Forward { input, group, tiles, .. } = self;
        let Size { height, width, .. } = group.size;
        let count = group.tiles;
        assert!(tiles.len() >= IN * IN * count * BLOCK, "room for the transformed tiles");
        for tile in 0..count {
            let [image, top, left] = group.corner(tile, OUT);
            let mut starts = [[0; IN]; IN];
            for (dy, starts) in starts.iter_mut().enumerate() {
                for (dx, start) in starts.iter_mut().enumerate() {
                    // What lies before the map wraps to a large number; place 0 is zeros.
                    let (y, x) = ((top + dy).wrapping_sub(1), (left + dx).wrapping_sub(1));
                    let inside = y < height && x < width;
                    *start = if inside { (1 + (image * height + y) * width + x) * BLOCK } else { 0 };
                }
            }
            for lane in (0..BLOCK).step_by(I::LANES) {
                let mut half = [[isa.splat(0.0); IN]; IN];
                for dx in 0..IN {
                    let mut column = [isa.splat(0.0); IN];
                    for dy in 0..IN {
                        column[dy] = isa.load(&input[starts[dy][dx] + lane..]);
                    }
                    let column = S::forward(isa, column);
                    for dy in 0..IN {
                        half[dy][dx] = column[dy];
                    }
                }
                for (dy, line) in half.into_iter().enumerate() {
                    let line = S::forward(isa, line);
                    for (dx, value) in line.into_iter().enumerate() {
                        isa.store(value, &mut tiles[((dy * IN + dx) * count + tile) * BLOCK + lane..]);
                    }
                }
            }
        }
    }
}

/// What one block of output channels is made from.
struct Products<'a> {
    layer: &'a Winograd,
    block: usize,
    group: Group,
    tiles: &'a [f32],
    products: &'a mut [f32],
    finish: Finish,
    out: &'a mut [f32],
}

/// Multiplies and transforms back.
struct Back<'a, S, const IN: usize, const OUT: usize> {
    products: Products<'a>,
    scheme: PhantomData<S>,
}

impl<S: Scheme<IN, OUT>, const IN: usize, const OUT: usize> Task for Back<'_, S, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Products { layer, block, group, tiles, products, finish, out } = self.products;
        out[..BLOCK].fill(0.0);
        let count = group.tiles;
        let blocks = pack::blocks(layer.channels_in);
        let panel = 2 * I::LANES;
        let walk = Walk { blocks, block_stride: IN * IN * count * BLOCK, depth: BLOCK };
        let length = blocks * BLOCK * panel;
        for part in 0..BLOCK / panel {
            let index = block * (BLOCK / panel) + part;
            for position in 0..IN * IN {
                let start = (index * IN * IN + position) * length;
                for (first, rows) in Runs::new(count, I::ROWS) {
                    let at = (position * count + first) * BLOCK;
                    let to = &mut products[at + part * panel..];
                    with_weights!(&layer.weights, weights => {
                        let weights = &weights[start..start + length];
                        with_rows!(rows, I::ROWS, ROWS => multiply::<I, _, ROWS>(isa, tiles, at, walk, weights, to))
                    });
                }
            }
        }
        let Size { height, width, .. } = group.size;
        for tile in 0..count {
            let [image, top, left] = group.corner(tile, OUT);
            for lane in (0..BLOCK).step_by(I::LANES) {
                let mut half = [[isa.splat(0.0); IN]; OUT];
                for dx in 0..IN {
                    let mut column = [isa.splat(0.0); IN];
                    for dy in 0..IN {
                        column[dy] = isa.load(&products[((dy * IN + dx) * count + tile) * BLOCK + lane..]);
                    }
                    let column = S::back(isa, column);
                    for dy in 0..OUT {
                        half[dy][dx] = column[dy];
                    }
                }
                let channel = block * BLOCK + lane;
                let affine = [isa.load(&layer.units[channel..]), isa.load(&layer.bias[channel..])];
                for (y, line) in (top..height).zip(half) {
                    let line = S::back(isa, line);
                    for (x, value) in (left..width).zip(line) {
                        let to = &mut out[(1 + (image * height + y) * width + x) * BLOCK + lane..];
                        finish.store(isa, value, affine, to);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn multiply<I: Isa, T: Stored, const ROWS: usize>(
    isa: I,
    tiles: &[f32],
    first: usize,
    walk: Walk,
    weights: &[T],
    to: &mut [f32],
) {
    let mut starts = [0u32; ROWS];
    for (row, start) in starts.iter_mut().enumerate() {
        *start = (first + row * BLOCK) as u32;
    }
    for (row, sums) in sums::<I, T, ROWS>(isa, tiles, &[starts], walk, weights).into_iter().enumerate() {
        let to = &mut to[row * BLOCK..][..2 * I::LANES];
        isa.store(sums[0], to);
        isa.store(sums[1], &mut to[I::LANES..]);
    }
}
