//! Memory and its modules: from the memory controllers' drivers (EDAC;
//! Documentation/admin-guide/ras.rst), else from the firmware's tables.

use serde::Serialize;

use super::dmi::Tables;
use crate::kept::Kept;
use crate::once;
use crate::root::Root;
use crate::text;

/// The memory of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Bytes that the kernel has for use.
    pub bytes: Option<u64>,
    /// How errors are corrected, in words; `none` if they are not, `None` if nothing tells.
    pub correction: Option<String>,
    /// Whether the kernel counts errors.
    pub is_counted: bool,
    /// Modules that are plugged in.
    pub modules: Vec<Module>,
}

/// One module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Module {
    /// As printed on the board, if the firmware or the administrator says so.
    pub label: String,
    /// Bytes.
    pub bytes: Option<u64>,
    /// `DDR4`.
    pub kind: Option<String>,
}

const MC: &str = "/sys/devices/system/edac/mc";

/// As in the sensor `ecc`.
const CONTROLLERS_MAX: usize = 64;
/// See [`CONTROLLERS_MAX`].
const MODULES_MAX: usize = 64;

/// `own`: whether the machine's devices are this system's.
pub(super) fn read(root: &Root, tables: &Tables, own: bool) -> Memory {
    let bytes = Kept::open(root.path("/proc/meminfo"))
        .ok()
        .and_then(|mut file| text::kibibytes(file.text().ok()?, "MemTotal"));
    let mut memory = Memory { bytes, ..Memory::default() };
    if !own {
        return memory;
    }
    memory.correction = tables.correction.map(str::to_owned);
    for controller in once::numbered(&root.path(MC), "mc", CONTROLLERS_MAX) {
        memory.is_counted = true;
        let mut modules = once::numbered(&controller, "dimm", MODULES_MAX);
        modules.extend(once::numbered(&controller, "rank", MODULES_MAX));
        for module in modules {
            let bytes =
                once::number(&module.join("size")).and_then(|size| size.checked_mul(1 << 20));
            if bytes.is_none_or(|bytes| bytes == 0) {
                continue;
            }
            let name = |path: &std::path::Path| {
                path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
            };
            let label = once::shown(&module.join("dimm_label"));
            memory.modules.push(Module {
                label: label.unwrap_or_else(|| format!("{} {}", name(&controller), name(&module))),
                bytes,
                kind: once::shown(&module.join("dimm_mem_type")),
            });
            if memory.correction.is_none() {
                memory.correction = once::shown(&module.join("dimm_edac_mode"));
            }
        }
    }
    if memory.modules.is_empty() {
        memory.modules.clone_from(&tables.modules);
    }
    // Their drivers refuse to load where the memory has none.
    if memory.is_counted && memory.correction.is_none() {
        memory.correction = Some("ECC".into());
    }
    memory
}
