//! Arguments of a call by Python's rules: each by its place or by its name.

use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind};

/// The arguments of a function whose parameters have these names. `None` stands for one that the
/// call leaves out; one that is none is there.
///
/// # Errors
/// If the call has more arguments, or one with another name.
pub(super) fn bind<const N: usize>(
    names: [&str; N],
    rest: Rest<ValueOrKwargs>,
) -> Result<[Option<Value>; N], Error> {
    let values = rest.into_values();
    bind_values(names, &values)
}

/// The same for arguments that came as they are; named ones are the last of them.
///
/// # Errors
/// As [`bind`].
pub(super) fn bind_values<const N: usize>(
    names: [&str; N],
    values: &[Value],
) -> Result<[Option<Value>; N], Error> {
    let (places, named): (&[Value], Kwargs) = from_args(values)?;
    if places.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound: [Option<Value>; N] = std::array::from_fn(|i| places.get(i).cloned());
    for (slot, name) in bound.iter_mut().zip(names) {
        if slot.is_none() && named.has(name) {
            *slot = Some(named.get::<Value>(name)?);
        }
    }
    named.assert_all_used()?;
    Ok(bound)
}
