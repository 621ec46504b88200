//! Commands against a node that answers in a known way: their text, their JSON, their exit codes.

use std::sync::Arc;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use xmpp_node_api::status::NodeRole;

use super::*;
use crate::admin::test_control::{TestControl, status};
use crate::admin::{listen, serve_socket};

/// A node's state directory with a live socket in it.
async fn node() -> (TempDir, Arc<TestControl>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener = listen::socket(&dir.path().join("admin.sock"))
        .await
        .expect("a free path");
    let control = Arc::new(TestControl::default());
    tokio::spawn(serve_socket(
        listener,
        control.clone(),
        CancellationToken::new(),
    ));
    (dir, control)
}

async fn xmpp(dir: &TempDir, line: &str) -> Result<Answer, Failure> {
    let node = dir.path().to_str().expect("a path in UTF-8");
    let words = ["xmpp", "--node", node].into_iter().chain(line.split(' '));
    Cli::try_parse_from(words)
        .expect("the command exists")
        .execute()
        .await
}

async fn text(dir: &TempDir, line: &str) -> String {
    xmpp(dir, line).await.expect("the node answers").text
}

#[tokio::test]
async fn cluster_status_has_the_seeds_shape_to_the_letter() {
    let (dir, _) = node().await;
    let seed = "\
State: FOLLOWER
List of peers
10.106.81.30:5222 (Leader)
10.106.81.31:5222
10.106.81.32:5222
Last state change: 2017-Aug-13 07:27:58
Key file           : abhiall.key
Certificate file   : abhiall.cer
Trust bundle       : abhiall.cer
";
    let answer = xmpp(&dir, "cluster status")
        .await
        .expect("the node answers");
    assert_eq!(answer.text, seed);
    assert!(!answer.found);
}

#[test]
fn the_node_itself_may_bear_the_mark_and_is_last() {
    let mut status = status();
    status.role = NodeRole::Leader;
    status.leader = status.leader.map(|leader| xmpp_node_api::status::Leader {
        id: status.id,
        ..leader
    });
    let text = render_cluster_status(&status);
    assert!(text.starts_with("State: LEADER\n"), "{text}");
    assert!(
        text.contains("10.106.81.30:5222\n10.106.81.31:5222\n10.106.81.32:5222 (Leader)\n"),
        "{text}"
    );
}

#[test]
fn a_failed_cluster_says_who_is_missing_since_when() {
    let mut status = status();
    status.leader = None;
    status.votes_seen = 1;
    status.peers[0].reachable = false;
    let text = render_cluster_status(&status);
    assert!(!text.contains("(Leader)"), "{text}");
    let end = "\
Quorum             : lost, 1 of 2 votes needed are here
Unreachable        : xmpp1 since 2017-Aug-13 07:27:58
";
    assert!(text.ends_with(end), "{text}");
}

#[tokio::test]
async fn callbridge_list_has_the_seeds_shape_and_masks_secrets_unless_asked() {
    let (dir, _) = node().await;
    let block = |name: &str, secret: &str| {
        format!("***\nCallbridge : {name}\nDomain     : tptac9.com\nSecret     : {secret}\n")
    };
    let masked = block("cb1", "********") + &block("cb2", "********");
    assert_eq!(text(&dir, "callbridge list").await, masked);
    let secret = "kvgP1SRzWVabhiPVAb1";
    let revealed = block("cb1", secret) + &block("cb2", secret);
    assert_eq!(text(&dir, "callbridge list --reveal").await, revealed);
    assert_eq!(text(&dir, "callbridge add cb1").await, block("cb1", secret));
    assert_eq!(
        text(&dir, "callbridge rotate cb1").await,
        block("cb1", secret)
    );
}

#[tokio::test]
async fn a_secret_comes_from_a_file_and_not_with_its_newline() {
    let (dir, control) = node().await;
    let file = dir.path().join("secret");
    std::fs::write(&file, "s3cr3t\n").expect("the directory is ours");
    let line = format!("callbridge add cb1 --secret-file {}", file.display());
    assert!(text(&dir, &line).await.contains("Secret     : s3cr3t\n"));
    std::fs::write(&file, "\n").expect("the directory is ours");
    let failure = xmpp(&dir, &line).await.expect_err("no secret");
    assert_eq!(failure.exit_code(), 2);
    assert_eq!(control.asked.lock().expect("nobody panicked").len(), 1);
}

#[tokio::test]
async fn each_command_sends_its_request() {
    let (dir, control) = node().await;
    for line in [
        "cluster initialize --id c1",
        "cluster remove",
        "cluster remove xmpp2",
        "callbridge remove cb1",
        "reload",
        "status",
    ] {
        assert!(
            !xmpp(&dir, line).await.expect("the node answers").found,
            "{line}"
        );
    }
    let asked = control.asked.lock().expect("nobody panicked");
    let names = asked.iter().map(Request::name).collect::<Vec<_>>();
    let expected = [
        "initialize",
        "status",
        "remove_member",
        "remove_member",
        "remove_bridge",
        "reload",
        "status",
    ];
    assert_eq!(names, expected);
    let member = xmpp_node_api::admin::Member::Name("xmpp3".to_owned());
    assert_eq!(
        asked[2],
        Request::RemoveMember { member },
        "without a name it is the node itself"
    );
}

#[tokio::test]
async fn json_is_that_of_the_admin_api() {
    let (dir, _) = node().await;
    let printed = text(&dir, "-o json cluster status").await;
    let read: xmpp_node_api::status::NodeStatus = serde_json::from_str(&printed).expect("a status");
    assert_eq!(read, status());
    assert_eq!(text(&dir, "reload -o json").await, "{}\n");
}

#[tokio::test]
async fn the_exit_code_tells_a_refusal_from_bad_usage_and_from_silence() {
    let (dir, _) = node().await;
    let refused = xmpp(&dir, "cluster transfer-leader --to xmpp2")
        .await
        .expect_err("it does not lead");
    assert_eq!(refused.exit_code(), 1);
    assert_eq!(
        refused.print(Output::Text),
        "Error: this node does not lead; xmpp1 does\nFix: ask xmpp1\n"
    );
    assert!(
        refused
            .print(Output::Json)
            .contains(r#""code": "not_leader""#)
    );
    let retired = xmpp(&dir, "callbridge retire cb1")
        .await
        .expect_err("it has one secret");
    assert_eq!(retired.exit_code(), 1);

    let usage = Cli::try_parse_from(["xmpp", "--admin", "localhost", "status"]).expect("it parses");
    let usage = usage.execute().await.expect_err("no certificate");
    assert_eq!(usage.exit_code(), 2);
    let both = Cli::try_parse_from(["xmpp", "--admin", "a", "--node", "b", "status"]);
    assert_eq!(both.expect_err("one of the two").exit_code(), 2);

    let nobody = tempfile::tempdir().expect("a temporary directory");
    let silent = xmpp(&nobody, "status").await.expect_err("nobody listens");
    assert_eq!(silent.exit_code(), 3);
    assert!(
        silent
            .print(Output::Text)
            .starts_with("Error: cannot reach the node: ")
    );
}

#[tokio::test]
async fn completions_need_no_node() {
    let nobody = tempfile::tempdir().expect("a temporary directory");
    assert!(
        text(&nobody, "completions bash")
            .await
            .contains("callbridge")
    );
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn one_nodes_status_is_told_for_people() {
    let text = render_node_status(&status());
    for line in [
        "Node                  : xmpp3 (0000000000000003)",
        "Uptime                : 1 day, 2 hours",
        "State                 : FOLLOWER, term 4, led by xmpp1",
        "Votes                 : 3 seen, 2 needed",
        "Unaccounted           : 0",
        "Callbridge            : cb1.tptac9.com, attached to xmpp2 since 2017-Aug-13 07:27:58, 2 queued",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
