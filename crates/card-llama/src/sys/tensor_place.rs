//! Tensors that are kept on a device of their own, whatever their layer.

use std::ffi::CString;

use llama_cpp_sys_2 as cpp;

use super::device;
use crate::error::LlamaError;

/// Longest pattern, in bytes. llama.cpp matches each against the name of every tensor.
pub(crate) const MOST_BYTES: usize = 8192;
/// The names of expert weights behind those of their layers, as llama.cpp's own `--cpu-moe` has
/// them.
const EXPERTS: &str = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps";

/// Tensors that are kept on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// A regular expression (ECMAScript) that finds something in the names of the tensors.
    pub pattern: String,
    /// The device, by the name that [`crate::devices`] gives.
    pub device: String,
}

impl TensorPlace {
    /// The expert weights of the first `layers` layers on the CPU; of all layers if `None`.
    pub fn experts_on_cpu(layers: Option<u32>) -> Self {
        let pattern = match layers {
            None => EXPERTS.to_owned(),
            Some(layers) => {
                let numbers: Vec<_> = (0..layers).map(|n| n.to_string()).collect();
                format!(r"blk\.({}){EXPERTS}", numbers.join("|"))
            }
        };
        TensorPlace {
            pattern,
            device: "CPU".to_owned(),
        }
    }

    /// Whether its pattern is card's own, so nobody wrote it wrongly.
    pub(crate) fn is_of_experts(&self) -> bool {
        self.pattern.ends_with(EXPERTS)
    }

    /// Reads `PATTERN=DEVICE`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((pattern, device)) if !pattern.is_empty() && !device.is_empty() => {
                Ok(TensorPlace {
                    pattern: pattern.to_owned(),
                    device: device.to_owned(),
                })
            }
            _ => Err(r"tensors and their device are like \.ffn_.*_exps=CPU".to_owned()),
        }
    }
}

/// The places as llama.cpp takes them. Invariant: each pattern that the list points to is in
/// `patterns`; the list ends with nulls.
pub(crate) struct Overrides {
    list: Vec<cpp::llama_model_tensor_buft_override>,
    _patterns: Vec<CString>,
}

impl Overrides {
    /// The places by which tensors are put, the first that fits a tensor first.
    ///
    /// # Errors
    /// If there is no device of a name, or a pattern cannot be one.
    pub(crate) fn new(places: &[TensorPlace]) -> Result<Self, LlamaError> {
        let mut patterns = Vec::with_capacity(places.len());
        let mut list = Vec::with_capacity(places.len() + 1);
        for place in places {
            let handle = device::find(&place.device)?;
            // SAFETY: ggml gave the device, which stays for the process.
            let buft = unsafe { cpp::ggml_backend_dev_buffer_type(handle.raw()) };
            let pattern = CString::new(place.pattern.as_str()).ok();
            let pattern = pattern.filter(|p| p.as_bytes().len() <= MOST_BYTES);
            let pattern = pattern.ok_or_else(|| LlamaError::Pattern(place.pattern.clone()))?;
            list.push(cpp::llama_model_tensor_buft_override {
                pattern: pattern.as_ptr(),
                buft,
            });
            // What the pointer points to is on the heap and stays there when the text is moved.
            patterns.push(pattern);
        }
        list.push(cpp::llama_model_tensor_buft_override {
            pattern: std::ptr::null(),
            buft: std::ptr::null_mut(),
        });
        Ok(Overrides {
            list,
            _patterns: patterns,
        })
    }

    /// The list, valid as long as `self`; null if there is nothing in it.
    pub(crate) fn raw(&self) -> *const cpp::llama_model_tensor_buft_override {
        if self.list.len() == 1 {
            std::ptr::null()
        } else {
            self.list.as_ptr()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_of_the_first_layers_have_a_pattern_of_their_own() {
        let place = TensorPlace::experts_on_cpu(Some(3));
        assert_eq!(
            place.pattern,
            r"blk\.(0|1|2)\.ffn_(up|down|gate|gate_up)_(ch|)exps"
        );
        assert!(
            TensorPlace::experts_on_cpu(None)
                .pattern
                .starts_with(r"\.ffn_")
        );
    }

    #[test]
    fn a_place_is_a_pattern_and_a_device() {
        let place = TensorPlace::parse("a=b=CPU").unwrap();
        assert_eq!((&place.pattern[..], &place.device[..]), ("a=b", "CPU"));
        for wrong in ["", "CPU", "=CPU", "x="] {
            assert!(TensorPlace::parse(wrong).is_err(), "{wrong}");
        }
    }
}
