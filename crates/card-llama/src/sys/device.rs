//! The devices llama.cpp found.

use llama_cpp_sys_2 as cpp;

use super::ffi::text;
use super::shim;
use super::start::start;
use crate::error::LlamaError;

/// Something that computes.
#[derive(Clone, Debug)]
pub struct Device {
    /// The name to choose the device by, like `CUDA0` or `CPU`.
    pub name: String,
    /// What the device is, in the words of its backend.
    pub description: String,
    /// Whether the device is a GPU, with memory of its own or shared with the CPU.
    pub is_gpu: bool,
    /// Bytes free and in all.
    pub memory: (usize, usize),
}

/// A device as ggml names it. Devices stay for the whole process, so a handle is valid once ggml
/// gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceHandle(cpp::ggml_backend_dev_t);

impl DeviceHandle {
    /// A handle that ggml gave.
    ///
    /// # Safety
    /// ggml gave it for a device (not null).
    pub(crate) unsafe fn new(raw: cpp::ggml_backend_dev_t) -> Self {
        DeviceHandle(raw)
    }

    /// The handle as llama.cpp's functions take it.
    pub(crate) fn raw(self) -> cpp::ggml_backend_dev_t {
        self.0
    }

    /// Whether the device is the CPU.
    pub(crate) fn is_cpu(self) -> bool {
        self.kind() == cpp::GGML_BACKEND_DEVICE_TYPE_CPU
    }

    fn is_gpu(self) -> bool {
        let kind = self.kind();
        kind == cpp::GGML_BACKEND_DEVICE_TYPE_GPU || kind == cpp::GGML_BACKEND_DEVICE_TYPE_IGPU
    }

    fn kind(self) -> cpp::ggml_backend_dev_type {
        // SAFETY: ggml gave the handle, which stays valid for the process.
        unsafe { cpp::ggml_backend_dev_type(self.0) }
    }

    fn name(self) -> String {
        // SAFETY: as above; the string is static.
        unsafe { text(cpp::ggml_backend_dev_name(self.0)) }
    }

    fn description(self) -> String {
        // SAFETY: as above; the string is static.
        unsafe { text(cpp::ggml_backend_dev_description(self.0)) }
    }

    /// Bytes free and in all; zeros if the device does not say.
    fn memory(self) -> (usize, usize) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: ggml gave the handle, and both numbers are ours.
        let asked = unsafe { shim::ggml_backend_dev_memory(self.0, &mut free, &mut total) };
        if let Err(thrown) = asked {
            tracing::debug!("{}: {thrown}", self.name());
        }
        (free, total)
    }
}

/// Every device, in llama.cpp's order.
pub fn devices() -> Vec<Device> {
    start();
    handles()
        .map(|device| Device {
            name: device.name(),
            description: device.description(),
            is_gpu: device.is_gpu(),
            memory: device.memory(),
        })
        .collect()
}

/// The device called `wanted`, in upper or lower case.
///
/// # Errors
/// Names the devices there are.
pub(crate) fn find(wanted: &str) -> Result<DeviceHandle, LlamaError> {
    handles()
        .find(|device| device.name().eq_ignore_ascii_case(wanted))
        .ok_or_else(|| LlamaError::Device {
            name: wanted.to_owned(),
            known: handles()
                .map(DeviceHandle::name)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// All GPUs of this machine.
pub(crate) fn gpus() -> Vec<DeviceHandle> {
    handles().filter(|device| device.is_gpu()).collect()
}

/// CPU features and backends of this build, in llama.cpp's words.
pub fn system_info() -> String {
    start();
    // SAFETY: returns a static string.
    let info = unsafe { shim::llama_print_system_info() };
    // SAFETY: as above; it ends with NUL.
    info.map(|p| unsafe { text(p) }).unwrap_or_default()
}

fn handles() -> impl Iterator<Item = DeviceHandle> {
    start();
    // SAFETY: the backends are loaded; the count is fixed from then on.
    let count = unsafe { shim::ggml_backend_dev_count() }.unwrap_or(0);
    // SAFETY: the index is below the count.
    (0..count).map(|i| unsafe { DeviceHandle::new(cpp::ggml_backend_dev_get(i)) })
}
