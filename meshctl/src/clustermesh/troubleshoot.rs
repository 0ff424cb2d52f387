//! Shows the way to remote clusters step by step.

use topology::report::{Outcome, Step, Troubleshooting};

use crate::status::{self, Asked};
use crate::table::Tone;

pub(super) fn text(found: &[Asked<Troubleshooting>], colours: bool) -> String {
    let texts: Vec<String> = found
        .iter()
        .map(|it| match &it.outcome {
            status::Outcome::Answer(answer) => way(answer, colours),
            status::Outcome::Error(error) => format!(
                "API server {}\n  {}\n",
                it.endpoint,
                Tone::Bad.paint(error, colours)
            ),
        })
        .collect();
    texts.join("\n")
}

fn way(found: &Troubleshooting, colours: bool) -> String {
    let mut text = format!("From cluster {} to cluster {}\n", found.cluster, found.peer);
    let mut endpoint = "";
    let width = found.steps.iter().map(|it| it.step.len()).max();
    for step in &found.steps {
        if step.endpoint != endpoint {
            endpoint = &step.endpoint;
            let heading = match endpoint {
                "" => "the cluster itself",
                endpoint => endpoint,
            };
            text.push_str(&format!("\n  {heading}\n"));
        }
        text.push_str(&line(step, width.unwrap_or_default(), colours));
    }
    let count = |outcome| {
        found
            .steps
            .iter()
            .filter(|it| it.outcome == outcome)
            .count()
    };
    let failed = count(Outcome::Failed);
    let tone = match failed {
        0 => Tone::Good,
        _ => Tone::Bad,
    };
    let summary = format!(
        "{} steps passed, {} with a warning, {failed} failed, {} skipped",
        count(Outcome::Passed),
        count(Outcome::Warned),
        count(Outcome::Skipped)
    );
    text + "\n" + &tone.paint(&summary, colours) + "\n"
}

fn line(step: &Step, width: usize, colours: bool) -> String {
    let (word, tone) = match step.outcome {
        Outcome::Failed => ("FAILED ", Tone::Bad),
        Outcome::Passed => ("ok     ", Tone::Good),
        Outcome::Skipped => ("skipped", Tone::Faint),
        Outcome::Warned => ("warning", Tone::Bad),
    };
    let word = tone.paint(word, colours);
    let mut text = format!("  {word}  {:<width$}  {}\n", step.step, step.found);
    if !step.remedy.is_empty() {
        let indent = " ".repeat(width + "  FAILED    ".len() + 1);
        text.push_str(&format!("{indent}remedy: {}\n", step.remedy));
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::status::tests::answered;

    use super::*;

    #[test]
    fn shows_each_step_with_its_remedy() {
        let step = |step: &str, endpoint: &str, outcome, found: &str, remedy: &str| Step {
            step: step.to_owned(),
            endpoint: endpoint.to_owned(),
            outcome,
            found: found.to_owned(),
            remedy: remedy.to_owned(),
        };
        let at = "https://us.example:2379";
        let refused = "192.0.2.20:2379: connection refused";
        let found = Troubleshooting {
            cluster: "eu".parse().unwrap(),
            peer: "us".parse().unwrap(),
            steps: vec![
                step("dns", at, Outcome::Passed, "192.0.2.20", ""),
                step("tcp", at, Outcome::Failed, refused, "start it"),
                step("etcd", at, Outcome::Skipped, "a step before it failed", ""),
                step("auth", "", Outcome::Failed, "no connection", "see above"),
            ],
        };

        let text = text(&[answered("http://192.0.2.10:9962", found)], false);

        assert_eq!(
            text,
            "\
From cluster eu to cluster us

  https://us.example:2379
  ok       dns   192.0.2.20
  FAILED   tcp   192.0.2.20:2379: connection refused
                 remedy: start it
  skipped  etcd  a step before it failed

  the cluster itself
  FAILED   auth  no connection
                 remedy: see above

1 steps passed, 0 with a warning, 2 failed, 1 skipped
"
        );
    }
}
