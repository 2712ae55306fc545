//! Every shader against its Rust side, without a GPU: entry point, workgroup, `Params`, bindings, WebGPU's default
//! limits.

use glassnet::kernels::batch::Header;
use glassnet::kernels::{self, Adapter, Case, Element, Factor, Matrices, Operation, Pass, Variant};
use naga::front::wgsl::{Frontend, Options};
use naga::proc::Layouter;
use naga::valid::{Capabilities, FunctionInfo, GlobalUse, ModuleInfo, ShaderStages, ValidationFlags, Validator};
use naga::{
    AddressSpace, GlobalVariable, Handle, ImageClass, ImageDimension, Module, ScalarKind, ShaderStage, StorageAccess,
    TypeInner,
};
use std::collections::HashSet;

/// WebGPU's default limits.
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_INVOCATIONS: u32 = 256;
const MAX_UNIFORM_BYTES: u32 = 64 << 10;

/// A variant's shader, parsed and valid.
struct Shader {
    operation: &'static Operation,
    variant: &'static Variant,
    module: Module,
    info: ModuleInfo,
    layouter: Layouter,
}

impl Shader {
    fn of(operation: &'static Operation, variant: &'static Variant) -> Shader {
        let (module, info) = parsed(variant);
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).expect("every type has a layout");
        Shader { operation, variant, module, info, layouter }
    }

    /// The passes with their entry points and the use of variables by each.
    fn entries(&self) -> impl Iterator<Item = (&Pass, &naga::EntryPoint, &FunctionInfo)> {
        self.variant.passes().map(|pass| {
            let mut entries = self.module.entry_points.iter().enumerate();
            let found = entries.find(|(_, entry)| entry.name == pass.entry);
            let (at, entry) = found.unwrap_or_else(|| panic!("no {}", pass.entry));
            (pass, entry, self.info.get_entry_point(at))
        })
    }

    /// The use of a variable by all passes together.
    fn uses(&self, handle: Handle<GlobalVariable>) -> GlobalUse {
        self.entries().map(|(_, _, info)| info[handle]).fold(GlobalUse::empty(), |all, own| all | own)
    }

    /// The variables that a pass uses, directly or through the functions that it calls.
    fn globals(&self) -> impl Iterator<Item = (Handle<GlobalVariable>, &GlobalVariable)> {
        self.module.global_variables.iter().filter(|(handle, _)| !self.uses(*handle).is_empty())
    }

    /// The variables in the bind group, by binding.
    fn bindings(&self) -> Vec<(u32, &GlobalVariable)> {
        let placed = self.globals().filter_map(|(_, global)| {
            let place = global.binding.as_ref()?;
            assert_eq!(place.group, 0, "{:?}", global.name);
            Some((place.binding, global))
        });
        let mut bindings: Vec<_> = placed.collect();
        bindings.sort_by_key(|(place, _)| *place);
        bindings
    }

    /// Access and element type of a storage buffer.
    fn storage(&self, global: &GlobalVariable) -> (StorageAccess, Element) {
        let AddressSpace::Storage { access } = global.space else { panic!("{global:?} is no storage buffer") };
        let ty = &self.module.types[global.ty];
        let base = match ty.inner {
            TypeInner::Array { base, .. } => base,
            // Words of several kinds.
            TypeInner::Struct { span, .. } if ty.name.as_deref() == Some("Header") => {
                assert_eq!(span as usize, 4 * Header::LEN, "the header's words");
                return (access, Element::U32);
            }
            ref other => panic!("{global:?} is {other:?}"),
        };
        let scalar = match self.module.types[base].inner {
            TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => scalar,
            ref other => panic!("{global:?} holds {other:?}"),
        };
        let element = match (scalar.kind, scalar.width) {
            (ScalarKind::Float, 4) => Element::F32,
            (ScalarKind::Uint, 4) => Element::U32,
            other => panic!("{global:?} holds {other:?}"),
        };
        (access, element)
    }

    /// The access of a storage buffer, `None` for a texture; and the element type.
    fn bound(&self, global: &GlobalVariable) -> (Option<StorageAccess>, Element) {
        if global.space == AddressSpace::Handle {
            return (None, self.texture(global));
        }
        let (access, element) = self.storage(global);
        (Some(access), element)
    }

    /// Element type of a texture.
    fn texture(&self, global: &GlobalVariable) -> Element {
        let TypeInner::Image { dim, arrayed, class } = self.module.types[global.ty].inner else {
            panic!("{global:?} is no texture")
        };
        assert_eq!((dim, arrayed), (ImageDimension::D2, false), "{global:?}");
        match class {
            ImageClass::Sampled { kind: ScalarKind::Float, multi: false } => Element::F32,
            ImageClass::Sampled { kind: ScalarKind::Uint, multi: false } => Element::U32,
            other => panic!("{global:?} holds {other:?}"),
        }
    }
}

/// The optional features that a variant may use: none without cooperative matrices.
fn features(variant: &Variant) -> Capabilities {
    match variant.matrices {
        None => Capabilities::empty(),
        Some(Matrices { factor: Factor::F32, .. }) => Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP,
        Some(Matrices { factor: Factor::F16, .. }) => {
            Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16
        }
    }
}

fn parsed(variant: &Variant) -> (Module, ModuleInfo) {
    let capabilities = features(variant);
    let options = Options { capabilities, ..Options::new() };
    let module = Frontend::new_with_options(options)
        .parse(variant.source)
        .unwrap_or_else(|e| panic!("{}: {}", variant.name, e.emit_to_string(variant.source)));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", variant.name, e.emit_to_string(variant.source)));
    (module, info)
}

/// The variants that support a case on any adapter.
fn variants_of(case: &Case) -> Vec<&'static Variant> {
    let all = case.op.operation.gpu.iter().copied();
    all.filter(|variant| Adapter::all().any(|adapter| variant.fits(&case.op, adapter))).collect()
}

fn for_each_shader(check: impl Fn(&Shader)) {
    for (operation, variant) in kernels::variants() {
        println!("{}", variant.name);
        check(&Shader::of(operation, variant));
    }
}

#[test]
fn every_shader_is_valid_without_optional_features_except_those_of_its_matrices() {
    for_each_shader(|shader| assert!(!shader.module.entry_points.is_empty()));
}

#[test]
fn entry_points_are_compute_with_the_variants_workgroup_within_the_limits() {
    for_each_shader(|shader| {
        for (pass, entry, _) in shader.entries() {
            assert_eq!(entry.stage, ShaderStage::Compute);
            assert_eq!(entry.workgroup_size, [pass.workgroup, 1, 1]);
            assert!(pass.workgroup <= MAX_INVOCATIONS);
        }
    });
}

#[test]
fn params_are_the_uniform_at_binding_0_and_have_the_operations_size() {
    for_each_shader(|shader| {
        // An entry point may ignore its parameters, but the file declares them.
        let (_, uniform) = (shader.module.global_variables.iter())
            .find(|(_, global)| global.space == AddressSpace::Uniform)
            .expect("a uniform variable");
        assert_eq!(uniform.binding.as_ref().map(|b| (b.group, b.binding)), Some((0, 0)));
        let ty = &shader.module.types[uniform.ty];
        assert_eq!(ty.name.as_deref(), Some("Params"));
        let layout = shader.layouter[uniform.ty];
        let params = u32::try_from(shader.operation.params).expect("a small struct");
        assert_eq!(layout.size, layout.alignment.round_up(params), "{}: Params", shader.variant.name);
        assert!(layout.size <= MAX_UNIFORM_BYTES);
    });
}

#[test]
fn bindings_are_params_then_inputs_then_outputs_then_scratch() {
    for_each_shader(|shader| {
        let Shader { operation, variant, .. } = shader;
        let mut bindings = shader.bindings();
        bindings.retain(|(_, global)| global.space != AddressSpace::Uniform);
        assert!(bindings.len() <= MAX_STORAGE_BUFFERS);
        let access = |operand| variant.texture(operand).map_or(Some(StorageAccess::LOAD), |_| None);
        let inputs = operation.inputs.iter().map(|operand| (access(*operand), operand.element));
        let outputs = operation.outputs.iter();
        let outputs = outputs.map(|operand| (Some(StorageAccess::LOAD | StorageAccess::STORE), operand.element));
        let expected: Vec<_> = (1..).zip(inputs.chain(outputs)).collect();
        // Scratch has words of any type.
        let scratch = variant.scratch.map(|_| bindings.pop().expect("scratch"));
        if let Some((place, global)) = scratch {
            assert_eq!(place as usize, expected.len() + 1, "{}", variant.name);
            assert_eq!(shader.storage(global).0, StorageAccess::LOAD | StorageAccess::STORE, "{}", variant.name);
        }
        let actual: Vec<_> = bindings.iter().map(|(place, global)| (*place, shader.bound(global))).collect();
        assert_eq!(actual, expected, "{}", variant.name);
    });
}

#[test]
fn only_variants_for_software_adapters_declare_textures() {
    for_each_shader(|shader| {
        let Shader { operation, variant, module, .. } = shader;
        let declares = module.global_variables.iter().any(|(_, global)| global.space == AddressSpace::Handle);
        assert_eq!(declares, !variant.textures.is_empty(), "{}", variant.name);
        assert_eq!(declares, variant.name.ends_with("_textures"), "{}", variant.name);
        let texels = [1, 4];
        assert!(variant.textures.iter().all(|t| texels.contains(&t.texel)), "{}", variant.name);
        assert!(variant.textures.iter().all(|t| operation.inputs.contains(&t.input)), "{}", variant.name);
    });
    for case in kernels::cases() {
        let on_hardware = case.op.variants(Adapter::HARDWARE);
        assert!(on_hardware.into_iter().all(|variant| variant.textures.is_empty()), "{}", case.name);
    }
}

#[test]
fn every_constant_is_one_that_the_shader_declares() {
    let mut shaders = std::collections::HashMap::new();
    for case in kernels::cases() {
        for variant in variants_of(&case) {
            let shader = shaders.entry(variant.name).or_insert_with(|| Shader::of(case.op.operation, variant));
            let declares = |name: &str| shader.module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
            for dispatch in case.op.dispatches(variant) {
                for (name, _) in dispatch.launch.constants {
                    assert!(declares(name), "{}: {name}", variant.name);
                }
            }
        }
    }
}

#[test]
fn inputs_are_read_and_outputs_are_written_and_never_read() {
    for_each_shader(|shader| {
        for (handle, global) in shader.globals().filter(|(_, global)| global.binding.is_some()) {
            let uses = shader.uses(handle);
            let place = global.binding.as_ref().map_or(0, |b| b.binding) as usize;
            let inputs = shader.operation.inputs.len();
            let outputs = inputs + shader.operation.outputs.len();
            if place > outputs {
                // A later pass reads what an earlier one wrote.
                assert_eq!(uses, GlobalUse::READ | GlobalUse::WRITE, "{}: {:?}", shader.variant.name, global.name);
                let first = shader.entries().next().map(|(_, _, info)| info[handle]);
                assert_eq!(first, Some(GlobalUse::WRITE), "{}: {:?}", shader.variant.name, global.name);
                continue;
            }
            let output = (inputs + 1..=outputs).contains(&place);
            assert_eq!(uses.contains(GlobalUse::WRITE), output, "{}: {:?}", shader.variant.name, global.name);
            assert_eq!(uses.contains(GlobalUse::READ), !output, "{}: {:?}", shader.variant.name, global.name);
        }
    });
}

/// Workgroups are numbered over two dimensions if one may be too short; some case must need the second.
#[test]
fn every_variant_that_numbers_workgroups_over_two_dimensions_has_a_case_with_both() {
    let cases = kernels::cases();
    for_each_shader(|shader| {
        let builtin = |argument: &naga::FunctionArgument| match argument.binding {
            Some(naga::Binding::BuiltIn(builtin)) => builtin == naga::BuiltIn::NumWorkGroups,
            _ => false,
        };
        for (pass, entry, _) in shader.entries() {
            let numbers = entry.function.arguments.iter().any(builtin);
            let both = |case: &kernels::Case| {
                let takes = variants_of(case).into_iter().any(|variant| std::ptr::eq(variant, shader.variant));
                let dispatches = if takes { case.op.dispatches(shader.variant) } else { Vec::new() };
                dispatches.iter().any(|one| one.entry == pass.entry && one.launch.workgroups[1] > 1)
            };
            assert!(!numbers || cases.iter().any(both), "{}: {}", shader.variant.name, pass.entry);
        }
    });
}

/// A case's buffers are longer than a network's, because guards follow their contents.
#[test]
fn no_shader_asks_how_long_a_buffer_is() {
    for_each_shader(|shader| {
        let functions = shader.module.functions.iter().map(|(_, f)| f);
        let entries = shader.module.entry_points.iter().map(|entry| &entry.function);
        let mut expressions = functions.chain(entries).flat_map(|f| f.expressions.iter());
        assert!(!expressions.any(|(_, e)| matches!(e, naga::Expression::ArrayLength(_))), "{}", shader.variant.name);
    });
}

#[test]
fn workgroup_memory_stays_within_the_limit() {
    for_each_shader(|shader| {
        let shared = shader.globals().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, global)| shader.layouter[global.ty].size).sum();
        assert!(bytes <= MAX_WORKGROUP_BYTES, "{}: {bytes} bytes", shader.variant.name);
    });
}

/// Arrays in workgroup memory whose lengths are constants of the pipeline.
#[test]
fn workgroup_memory_of_every_pipeline_of_the_cases_stays_within_the_limit() {
    let mut seen = HashSet::new();
    for (_, variant) in kernels::variants().filter(|(_, variant)| variant.source.contains("override")) {
        let (module, info) = parsed(variant);
        let cases = kernels::cases();
        let own = cases.iter().filter(|case| case.op.operation.gpu.iter().any(|other| other.name == variant.name));
        let fits = |case: &&Case| Adapter::all().any(|adapter| variant.fits(&case.op, adapter));
        for dispatch in own.filter(fits).flat_map(|case| case.op.dispatches(variant)) {
            let constants = dispatch.launch.constants;
            let sizes: Vec<_> = constants.iter().filter(|(name, _)| name.chars().count() > 1).copied().collect();
            if !seen.insert((variant.name, dispatch.entry, sizes)) {
                continue;
            }
            let constants = constants.iter().map(|(name, value)| (name.to_string(), f64::from(*value))).collect();
            let entry = Some((ShaderStage::Compute, dispatch.entry));
            let (module, _) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
                .expect("constants");
            let mut layouter = Layouter::default();
            layouter.update(module.to_ctx()).expect("every type has a layout");
            let shared = module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
            let bytes: u32 = shared.map(|(_, global)| layouter[global.ty].size).sum();
            assert!(bytes <= MAX_WORKGROUP_BYTES, "{} with {constants:?}: {bytes} bytes", variant.name);
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
}

#[test]
fn every_entry_point_in_the_shaders_folder_belongs_to_a_variant_of_its_name() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let mut unused = Vec::new();
    for file in std::fs::read_dir(folder).expect("the shaders folder") {
        let path = file.expect("a file").path();
        if path.is_dir() {
            continue;
        }
        let family = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable shader");
        let own = || kernels::variants().filter(|(_, variant)| variant.source.contains(&text));
        for entry in text.split("@compute").skip(1) {
            let name = entry.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).expect("a function").0;
            let of_family = |variant: &Variant| variant.name.starts_with(&format!("{family}."));
            let is_its = |variant: &Variant| of_family(variant) && variant.passes().any(|pass| pass.entry == name);
            if !own().any(|(_, variant)| is_its(variant)) {
                unused.push(format!("{family}.{name}"));
            }
        }
    }
    assert!(unused.is_empty(), "{unused:?}");
    let mut names: Vec<&str> = kernels::variants().map(|(_, variant)| variant.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn every_prelude_is_in_use() {
    for folder in ["prelude", "buffers", "textures", "tile", "tile/bindings", "matrix"] {
        let folder = format!("{}/shaders/{folder}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(folder).expect("the folder") {
            let path = file.expect("a file").path();
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a readable prelude");
            let users = kernels::variants().filter(|(_, variant)| variant.source.contains(&text)).count();
            assert!(users > 0, "{} begins no variant", path.display());
        }
    }
}

/// A variant that reads textures and its twin that reads buffers only differ in their preludes.
#[test]
fn a_variant_with_textures_has_the_body_of_the_one_with_buffers() {
    let twin = |name: &str| kernels::variants().find(|(_, variant)| variant.name == name).map(|(_, variant)| variant);
    for (_, variant) in kernels::variants().filter(|(_, variant)| !variant.textures.is_empty()) {
        let other = twin(variant.name.trim_end_matches("_textures")).expect("a twin with buffers");
        let common = variant.source.bytes().rev().zip(other.source.bytes().rev()).take_while(|(a, b)| a == b).count();
        let body = &variant.source[variant.source.len() - common..];
        let entries = |variant: &Variant| variant.passes().map(|pass| pass.entry).collect::<Vec<_>>();
        let has = |entry: &str| body.contains(&format!("fn {entry}("));
        assert!(entries(variant).into_iter().all(has) && !body.contains("textureLoad"), "{}", variant.name);
        assert_eq!(entries(variant), entries(other), "{}", variant.name);
    }
}

#[test]
fn the_last_variant_of_an_operation_takes_every_case() {
    for case in kernels::cases() {
        let last = case.op.operation.gpu.last().expect("an operation has a variant");
        assert!(Adapter::SORTS.into_iter().all(|adapter| last.fits(&case.op, adapter)), "{}", case.name);
    }
}
