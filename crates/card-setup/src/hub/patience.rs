//! How often, and after what time, a hub is asked again that has too much to do or is away.

use std::time::Duration;

use super::error::HubError;

/// Tries in a row that may bring nothing.
const MOST_IDLE: u32 = 4;
/// The wait after a try that brought something; each next wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait that a hub may ask for. One that wants more is told to whoever waits.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The wait before the next try, after `idle` tries in a row that brought nothing. `after` is the
/// wait that the hub asked for. `None` if another try is of no use.
pub fn before_next(after: Option<Duration>, idle: u32) -> Option<Duration> {
    let wait = after.unwrap_or(FIRST_WAIT * 2_u32.pow(idle.min(MOST_IDLE)));
    (idle < MOST_IDLE && wait <= LONGEST_WAIT).then_some(wait)
}

/// What `ask` is answered, asked again while the hub has too much to do.
///
/// # Errors
/// The last one.
pub fn ask<T>(mut ask: impl FnMut() -> Result<T, HubError>) -> Result<T, HubError> {
    let mut idle = 0;
    loop {
        let error = match ask() {
            Err(error) => error,
            answered => return answered,
        };
        let HubError::Busy { after, .. } = &error else {
            return Err(error);
        };
        idle += 1;
        let Some(wait) = before_next(*after, idle) else {
            return Err(error);
        };
        tracing::info!("{error}; asking again in {} ms", wait.as_millis());
        std::thread::sleep(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(after: u64) -> HubError {
        HubError::Busy {
            host: "hub".into(),
            status: 429,
            after: Some(Duration::from_secs(after)),
        }
    }

    #[test]
    fn waits_grow_and_end_and_the_hubs_own_goes_before_them() {
        let waits: Vec<_> = (0..5).map(|idle| before_next(None, idle)).collect();
        let millis = |ms| Some(Duration::from_millis(ms));
        assert_eq!(
            waits,
            [millis(250), millis(500), millis(1000), millis(2000), None]
        );
        let seconds = |s| before_next(Some(Duration::from_secs(s)), 1);
        assert_eq!((seconds(7), seconds(61)), (millis(7000), None));
        assert_eq!(before_next(Some(Duration::ZERO), 4), None);
    }

    #[test]
    fn whoever_has_too_much_to_do_is_asked_again_and_nobody_else() {
        let mut asked = 0;
        let answered = ask(|| {
            asked += 1;
            if asked < 3 { Err(busy(0)) } else { Ok(asked) }
        });
        assert_eq!(answered.unwrap(), 3);
        let mut asked = 0;
        let tried = ask(|| -> Result<(), _> {
            asked += 1;
            Err(busy(0))
        });
        assert!(tried.is_err() && asked == MOST_IDLE);
        for error in [
            busy(3600),
            HubError::NoSum {
                file: String::new(),
            },
        ] {
            let mut first = Some(error);
            let tried = ask(|| Err::<(), _>(first.take().unwrap()));
            assert!(tried.is_err());
        }
    }
}
