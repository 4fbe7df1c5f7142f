//! `mark PART good|defect [WHO: WHY]` and `marked N`: marks go to the recorder's thread, which can be
//! slow, and its answer is asked for.

use super::error;
use crate::record::{Mark, MarkKind, ShortText};
use crate::station::queues::{MarkAnswer, MarkRequest};
use heapless::Deque;
use heapless::spsc::{Consumer, Producer};
use serde_json::{Value, json};

/// Answers that wait for somebody who asks.
const HELD: usize = 8;

/// The control thread's side of the marks.
pub(in crate::station) struct Marks<'a> {
    requests: Producer<'a, MarkRequest>,
    answers: Consumer<'a, MarkAnswer>,
    held: Deque<MarkAnswer, HELD>,
    number: u64,
}

impl<'a> Marks<'a> {
    pub(in crate::station) fn new(
        requests: Producer<'a, MarkRequest>,
        answers: Consumer<'a, MarkAnswer>,
    ) -> Self {
        Self {
            requests,
            answers,
            held: Deque::new(),
            number: 0,
        }
    }

    /// The answer to `mark` and these words.
    pub(super) fn mark(&mut self, words: &str) -> Value {
        let Some(mark) = parse(words) else {
            return error("a mark is: mark PART good|defect [WHO: WHY]");
        };
        let number = self.number + 1;
        if self.requests.enqueue(MarkRequest { number, mark }).is_err() {
            return error("too many marks wait; try again in a moment");
        }
        self.number = number;
        json!({"ok": true, "mark": number})
    }

    /// The answer to `marked` and the number of a mark.
    pub(super) fn marked(&mut self, number: &str) -> Value {
        while let Some(answer) = self.answers.dequeue() {
            if self.held.is_full() {
                self.held.pop_front();
            }
            let _ = self.held.push_back(answer);
        }
        let Ok(number) = number.trim().parse::<u64>() else {
            return error("the number of a mark is needed");
        };
        match self.held.iter().find(|answer| answer.number == number) {
            Some(answer) => match &answer.outcome {
                Ok(path) => json!({"ok": true, "done": true, "image": path.as_str()}),
                Err(why) => error(why.as_str()),
            },
            None if number == 0 || number > self.number => error("no such mark"),
            None => json!({"ok": true, "done": false}),
        }
    }
}

fn parse(words: &str) -> Option<Mark> {
    let mut words = words.trim().splitn(3, ' ');
    let part = words.next()?.parse().ok()?;
    let name = words.next()?;
    let kind = MarkKind::ALL.into_iter().find(|kind| kind.name() == name)?;
    Some(Mark {
        part,
        kind,
        said: ShortText::new(words.next().unwrap_or_default().trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapless::spsc::Queue;

    #[test]
    fn a_mark_is_passed_on_and_its_answer_asked_for() {
        let (mut requests, mut answers) = (Queue::<_, 3>::new(), Queue::<_, 3>::new());
        let (requests_in, mut requests_out) = requests.split();
        let (mut answers_in, answers_out) = answers.split();
        let mut marks = Marks::new(requests_in, answers_out);
        for words in ["", "42", "42 bad", "-1 good", "x good", "good 42"] {
            assert_eq!(marks.mark(words)["ok"], false, "{words:?}");
        }
        assert_eq!(marks.mark("42 defect anna: a scratch")["mark"], 1);
        let request = requests_out.dequeue().expect("passed on");
        let Mark { part, kind, said } = request.mark;
        assert_eq!(
            (part, kind, said.as_str()),
            (42, MarkKind::Defect, "anna: a scratch")
        );
        assert_eq!(marks.marked("1")["done"], false);
        assert_eq!(marks.marked("2")["ok"], false);
        assert_eq!(marks.marked("one")["ok"], false);
        let outcome = Ok(ShortText::new("marked/defect/a.png"));
        answers_in
            .enqueue(MarkAnswer { number: 1, outcome })
            .expect("room");
        assert_eq!(marks.marked("1")["image"], "marked/defect/a.png");
        for _ in 0..2 {
            assert_eq!(marks.mark("1 good")["ok"], true);
        }
        let answer = marks.mark("1 good");
        assert!(answer["error"].as_str().expect("said").contains("wait"));
    }
}
