//! The order in which a trunk's layers run at one size of input, and which buffer each reads and writes: made once a size,
//! shared by the engines.

use super::network::{Conv, Trunk};

/// Maps that lie in memory at the same time: what a block reads, what its first convolution wrote, what its skip wrote.
pub const BUFFERS: usize = 3;

/// Channels and sides of a stack of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many maps.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Values of one map.
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// What a convolution makes of maps of this shape.
    fn after(&self, conv: &Conv) -> Shape {
        let Shape { height, width, .. } = *self;
        Shape { channels: conv.channels_out, height: conv.side_out(height), width: conv.side_out(width) }
    }
}

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The convolution of this index in [`layers`].
    Conv {
        /// Index in [`layers`].
        layer: usize,
        /// Buffer that is added before `relu`; it may be the one that is written to.
        add: Option<usize>,
        /// Whether negative results become 0.
        relu: bool,
    },
    /// Maximum over 3x3, stride 2, padding 1.
    MaxPool,
}

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is computed.
    pub op: Op,
    /// The buffer that is read; the first step reads the trunk's input instead.
    pub from: usize,
    /// Shape of what is read.
    pub shape_in: Shape,
    /// The buffer that is written.
    pub to: usize,
    /// Shape of what is written.
    pub shape_out: Shape,
}

/// The steps of a trunk at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// How many steps there are until the first stage's maps are written: what the familiarity gate looks at.
    pub early: usize,
    /// Values that each buffer has to hold, a crop, if channels are not padded.
    pub buffers: [usize; BUFFERS],
}

/// All convolutions of a trunk: the stem, then of each block `first`, `second`, and `skip` if it has one.
pub fn layers(trunk: &Trunk) -> Vec<&Conv> {
    let blocks = trunk.blocks.iter().flat_map(|block| [Some(&block.first), Some(&block.second), block.skip.as_ref()]);
    std::iter::once(&trunk.stem).chain(blocks.flatten()).collect()
}

/// The same, to be changed.
pub fn layers_mut(trunk: &mut Trunk) -> Vec<&mut Conv> {
    let blocks = trunk.blocks.iter_mut();
    let blocks = blocks.flat_map(|block| [Some(&mut block.first), Some(&mut block.second), block.skip.as_mut()]);
    std::iter::once(&mut trunk.stem).chain(blocks.flatten()).collect()
}

impl Plan {
    /// The plan for inputs of `height` x `width`.
    pub fn new(trunk: &Trunk, height: usize, width: usize) -> Plan {
        let mut steps = Vec::new();
        let step = |op, from, shape_in, to, shape_out| Step { op, from, shape_in, to, shape_out };
        let conv = |layer, add, relu| Op::Conv { layer, add, relu };
        let input = Shape { channels: trunk.stem.channels_in, height, width };
        let stem = input.after(&trunk.stem);
        steps.push(step(conv(0, None, true), 0, input, 0, stem));
        let pooled = Shape { height: (stem.height - 1) / 2 + 1, width: (stem.width - 1) / 2 + 1, ..stem };
        steps.push(step(Op::MaxPool, 0, stem, 1, pooled));
        // `at` holds what the block reads; the other two buffers are free.
        let (mut at, mut shape, mut layer) = (1, pooled, 1);
        let mut early = 0;
        for (index, block) in trunk.blocks.iter().enumerate() {
            let (inner, other) = ((at + 1) % BUFFERS, (at + 2) % BUFFERS);
            let out = shape.after(&block.first);
            steps.push(step(conv(layer, None, true), at, shape, inner, out));
            // Without a convolution in the skip the sum is written over the input that is added.
            let skip = if let Some(skip) = &block.skip {
                steps.push(step(conv(layer + 2, None, false), at, shape, other, shape.after(skip)));
                other
            } else {
                at
            };
            steps.push(step(conv(layer + 1, Some(skip), true), inner, out, skip, out));
            (at, shape) = (skip, out);
            layer += if block.skip.is_some() { 3 } else { 2 };
            if index == 1 {
                early = steps.len();
            }
        }
        let mut buffers = [0; BUFFERS];
        for step in &steps {
            buffers[step.to] = buffers[step.to].max(step.shape_out.channels * step.shape_out.area());
        }
        Plan { steps, early, buffers }
    }

    /// Shape of the last maps.
    pub fn shape_out(&self) -> Shape {
        self.last().shape_out
    }

    /// The buffer that holds the last maps.
    pub fn buffer_out(&self) -> usize {
        self.last().to
    }

    fn last(&self) -> &Step {
        self.steps.last().expect("a trunk has layers")
    }
}
