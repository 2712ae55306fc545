//! Copies of buffers in textures, for adapters that read textures faster than storage buffers.
//!
//! A copy is made before the first operation that reads it, and again only after its buffer was written.

use super::context::Gpu;
use crate::kernels::{BufferId, Element, Op, Operand, TEXTURE_WIDTH, Variant};
use crate::program::{BufferSpec, Program};
use std::collections::HashMap;
use std::ops::Range;

/// The copy of one buffer.
#[derive(Debug)]
struct Image {
    source: BufferId,
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    texels: usize,
    /// The bytes of a texel.
    texel: usize,
    /// Whether the buffer was written since the copy.
    stale: bool,
}

/// Operations that one compute pass can run after these copies.
#[derive(Debug, PartialEq)]
pub(super) struct Segment {
    pub copies: Vec<usize>,
    pub instructions: Range<usize>,
}

/// The images of a program, and the operations that read and invalidate them.
#[derive(Debug)]
pub(super) struct Textures {
    images: Vec<Image>,
    /// The index of an image by its buffer and the elements in a texel.
    places: HashMap<(BufferId, usize), usize>,
    /// The images that each instruction reads, in the order of its variant's list.
    reads: Vec<Vec<usize>>,
    /// The images that each instruction makes stale.
    writes: Vec<Vec<usize>>,
}

fn format(element: Element, texel: usize) -> wgpu::TextureFormat {
    match (element, texel) {
        (Element::F32, 1) => wgpu::TextureFormat::R32Float,
        (Element::F32, 4) => wgpu::TextureFormat::Rgba32Float,
        (Element::U32, 1) => wgpu::TextureFormat::R32Uint,
        (Element::U32, 4) => wgpu::TextureFormat::Rgba32Uint,
        (element, texel) => panic!("no texture holds {texel} elements of {element:?} in a texel"),
    }
}

/// The number of texels of a buffer, including its guard.
fn texels(spec: &BufferSpec, texel: usize) -> usize {
    (spec.len + spec.guard) / texel
}

fn texture(gpu: &Gpu, label: &str, format: wgpu::TextureFormat, texels: usize) -> wgpu::Texture {
    gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: wgpu::Extent3d {
            width: texels.clamp(1, TEXTURE_WIDTH) as u32,
            height: texels.div_ceil(TEXTURE_WIDTH).max(1) as u32,
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

impl Textures {
    /// Creates the images that these variants of the program's operations read.
    pub fn new(gpu: &Gpu, program: &Program, variants: &[&'static Variant]) -> Textures {
        let instructions = program.instructions.len();
        let (reads, writes) = (vec![Vec::new(); instructions], vec![Vec::new(); instructions]);
        let mut textures = Textures { images: Vec::new(), places: HashMap::new(), reads, writes };
        for (i, (instruction, variant)) in program.instructions.iter().zip(variants).enumerate() {
            textures.add_reads(gpu, program, i, &instruction.op, variant);
        }
        for (i, instruction) in program.instructions.iter().enumerate() {
            let written = |image: &Image| {
                let root = program.root(image.source).0;
                instruction.op.outputs.iter().any(|output| program.root(*output).0 == root)
            };
            textures.writes[i] = (0..textures.images.len()).filter(|at| written(&textures.images[*at])).collect();
        }
        textures
    }

    fn add_reads(&mut self, gpu: &Gpu, program: &Program, i: usize, op: &Op, variant: &Variant) {
        for read in variant.textures {
            let (source, texel) = (op.input(read.input), read.texel);
            let images = &mut self.images;
            let place = *self.places.entry((source, texel)).or_insert_with(|| {
                let spec = program.buffer(source);
                let texels = texels(spec, texel);
                let texture = texture(gpu, &spec.name, format(spec.element, texel), texels);
                let view = texture.create_view(&Default::default());
                images.push(Image { source, texture, view, texels, texel: 4 * texel, stale: true });
                images.len() - 1
            });
            self.reads[i].push(place);
        }
    }

    /// The texture that an instruction's variant reads in place of an input's buffer, if it does.
    pub fn view(&self, instruction: usize, variant: &Variant, input: Operand) -> Option<&wgpu::TextureView> {
        let at = variant.textures.iter().position(|texture| texture.input == input)?;
        Some(&self.images[self.reads[instruction][at]].view)
    }

    /// The bytes of all images.
    pub fn memory(&self) -> u64 {
        self.images.iter().map(|image| image.texels as u64 * image.texel as u64).sum()
    }

    /// Records that `root` was written other than by an instruction.
    pub fn outdate(&mut self, program: &Program, root: BufferId) {
        for image in self.images.iter_mut().filter(|image| program.root(image.source).0 == root) {
            image.stale = true;
        }
    }

    /// Splits instructions where images must be copied first, assuming that all of them are then run.
    pub fn segments(&mut self, instructions: Range<usize>) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for i in instructions {
            let Self { reads, images, .. } = self;
            // Allocates only if there is something to copy.
            let copies: Vec<usize> =
                reads[i].iter().copied().filter(|image| std::mem::take(&mut images[*image].stale)).collect();
            match segments.last_mut() {
                Some(segment) if copies.is_empty() => segment.instructions.end = i + 1,
                _ => segments.push(Segment { copies, instructions: i..i + 1 }),
            }
            for image in &self.writes[i] {
                self.images[*image].stale = true;
            }
        }
        segments
    }

    /// Records the copy of an image; `locate` returns the buffer's present location in bytes.
    pub fn copy<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        image: usize,
        locate: impl Fn(BufferId) -> (&'a wgpu::Buffer, u64),
    ) {
        let image = &self.images[image];
        let (buffer, start) = locate(image.source);
        let (rows, rest) = (image.texels / TEXTURE_WIDTH, image.texels % TEXTURE_WIDTH);
        let row_bytes = TEXTURE_WIDTH * image.texel;
        // Whole rows first, then the rest in the last row.
        for (y, width, height) in [(0, TEXTURE_WIDTH, rows), (rows, rest, 1)] {
            if width * height == 0 {
                continue;
            }
            let layout = wgpu::TexelCopyBufferLayout {
                offset: start + (y * row_bytes) as u64,
                bytes_per_row: Some(row_bytes as u32),
                rows_per_image: None,
            };
            let target = wgpu::TexelCopyTextureInfo {
                texture: &image.texture,
                mip_level: 0,
                origin: wgpu::Origin3d { x: 0, y: y as u32, z: 0 },
                aspect: wgpu::TextureAspect::All,
            };
            let size = wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 };
            encoder.copy_buffer_to_texture(wgpu::TexelCopyBufferInfo { buffer, layout }, target, size);
        }
    }
}
