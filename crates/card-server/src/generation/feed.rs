//! The news of all generations of a request, one after another.

use std::time::Duration;

use card_api::ApiError;
use tokio::sync::mpsc::Receiver;

use super::news::News;

/// What becomes known of the generations of a request, with the number of the answer that it is
/// about.
pub(crate) struct NewsFeed {
    /// News that came already and nobody read.
    came: Option<(usize, News)>,
    rest: Receiver<(usize, News)>,
}

impl NewsFeed {
    /// The news that come through this channel.
    pub(crate) fn of(rest: Receiver<(usize, News)>) -> Self {
        NewsFeed { came: None, rest }
    }

    /// The next news. Where no more can come, that is a failure.
    pub(crate) async fn next(&mut self) -> (usize, News) {
        let news = match self.came.take() {
            Some(news) => Some(news),
            None => self.rest.recv().await,
        };
        news.unwrap_or_else(|| (0, News::Failed(broke_off())))
    }

    /// Waits for the first news, at most so long. They are the next to be read.
    ///
    /// # Errors
    /// If they are a failure.
    pub(crate) async fn wait(&mut self, most: Duration) -> Result<(), ApiError> {
        match tokio::time::timeout(most, self.next()).await {
            Ok((_, News::Failed(error))) => return Err(error),
            Ok(news) => self.came = Some(news),
            Err(_) => {}
        }
        Ok(())
    }

    /// Takes no more news, so that generations still at work have nobody to write for.
    pub(crate) fn close(&mut self) {
        self.rest.close();
    }
}

/// The error of a generation that ended without news of its end.
fn broke_off() -> ApiError {
    ApiError::internal("the generation broke off")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::generation::Piece;

    const LONG: Duration = Duration::from_secs(3600);

    fn piece() -> News {
        News::Piece(Piece::default())
    }

    #[tokio::test]
    async fn news_that_were_waited_for_are_the_next() {
        let (sender, rest) = channel(2);
        for index in [3, 4] {
            sender.send((index, piece())).await.unwrap();
        }
        drop(sender);
        let mut feed = NewsFeed::of(rest);
        feed.wait(LONG).await.unwrap();
        assert_eq!(feed.next().await.0, 3);
        assert_eq!(feed.next().await.0, 4);
        assert!(matches!(feed.next().await, (_, News::Failed(_))));
    }

    #[tokio::test]
    async fn a_failure_ends_the_wait_and_time_that_is_up_does_not_lose_news() {
        let (sender, rest) = channel(2);
        let mut feed = NewsFeed::of(rest);
        feed.wait(Duration::ZERO).await.unwrap();
        sender.send((1, piece())).await.unwrap();
        assert_eq!(feed.next().await.0, 1);
        let failed = News::Failed(ApiError::timeout(1));
        sender.send((0, failed)).await.unwrap();
        assert!(feed.wait(LONG).await.is_err());
        drop(sender);
        assert!(feed.wait(LONG).await.is_err());
    }

    #[tokio::test]
    async fn a_closed_feed_takes_no_more_news() {
        let (sender, rest) = channel(1);
        let mut feed = NewsFeed::of(rest);
        feed.close();
        assert!(sender.send((0, piece())).await.is_err());
    }
}
