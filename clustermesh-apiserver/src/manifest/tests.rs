use super::*;

#[test]
fn reads_documents_and_ignores_what_the_mesh_has_no_use_for() {
    let manifest = parse(&format!(
        "# a comment\n---\n{SERVICE}---\n{}--- # another\n\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: node-1}}\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
    ));

    assert_eq!(manifest.errors, []);
    assert_eq!(manifest.objects.len(), 2);
    let texts: Vec<String> = manifest.objects.keys().map(ToString::to_string).collect();
    assert_eq!(texts, ["Node node-1", "Service default/web"]);
    assert_eq!(
        manifest.ignored,
        BTreeSet::from(["apps/v1 Deployment".to_owned()])
    );
}

#[test]
fn says_where_a_document_is_wrong_and_reads_the_others() {
    let broken =
        "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  ports:\n  - port: eighty\n";

    let manifest = parse(&format!("{broken}---\n{SERVICE}"));

    assert_eq!(manifest.objects.len(), 1);
    assert_eq!(
        (manifest.errors[0].line, manifest.errors[0].column),
        (6, 11)
    );

    let manifest = parse(&format!("{SERVICE}---\n{broken}"));

    assert_eq!(
        (manifest.errors[0].line, manifest.errors[0].column),
        (14, 11)
    );
    let error = manifest.errors[0].to_string();
    assert!(error.starts_with("14:11: Service: "), "{error}");
    assert!(!error.contains(" at line "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn refuses_text_that_is_torn_or_no_object() {
    check_error(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, na",
        "3:",
    );
    check_error("hello", "1:1: object: ");
    check_error("kind: Pod", "1:");
    check_error(
        "apiVersion: v1\nkind: Serv",
        "1:1: v1 Serv: nothing follows",
    );
    check_error(
        "apiVersion: v1\nkind: Pod\nmetadata: {}",
        "1:1: Pod: metadata.name is missing",
    );
}

#[test]
fn reads_lists_as_kubectl_prints_them() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {}}]}"#;

    let manifest = parse(list);

    assert_eq!(manifest.objects.len(), 1);
    assert_eq!(
        manifest.errors[0].to_string(),
        "3:9: items[1]: Node: metadata.name is missing"
    );
}

#[test]
fn says_where_the_items_of_a_list_are_wrong_and_reads_the_others() {
    let list = "apiVersion: v1\nkind: List\nitems:\n\
                - apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec:\n    ports:\n    - port: eighty\n\
                - apiVersion: v1\n  kind: Node\n  metadata: {}\n\
                - {apiVersion: v1, kind: Node, metadata: {name: n}}\n";
    let manifest = parse(&format!("{SERVICE}---\n{list}"));

    let texts: Vec<String> = manifest.objects.keys().map(ToString::to_string).collect();
    assert_eq!(texts, ["Node n", "Service default/web"]);
    let errors: Vec<String> = manifest.errors.iter().map(ToString::to_string).collect();
    assert!(
        errors[0].starts_with("17:13: items[0]: Service: "),
        "{errors:?}"
    );
    assert_eq!(errors[1], "18:1: items[1]: Node: metadata.name is missing");
    assert_eq!(errors.len(), 2);
}

#[test]
fn says_where_the_items_of_a_list_in_json_are_wrong() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
         "spec": {"ports": [{"port": "eighty"}]}},
        {"kind": "Node"}, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}]}"#;

    let manifest = parse(list);

    assert_eq!(manifest.objects.len(), 1);
    let errors: Vec<String> = manifest.errors.iter().map(ToString::to_string).collect();
    assert!(errors[0].starts_with("3:"), "{errors:?}");
    assert!(errors[1].starts_with("4:"), "{errors:?}");
    assert!(
        errors[1].contains("items[1]: object: missing field"),
        "{errors:?}"
    );
}

#[test]
fn reads_lists_of_every_style_and_size() {
    let namespace =
        |it: usize| format!("- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: n{it}\n");
    let items: String = (0..50_000).map(namespace).collect();
    let manifest = parse(&format!("apiVersion: v1\nitems:\n{items}kind: List\n"));
    assert_eq!(manifest.errors, []);
    assert_eq!(
        manifest.objects.len(),
        50_000,
        "more nodes than a reader of YAML lets us have"
    );

    for list in [
        "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Node, metadata: {name: n1}}]}",
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Node, metadata: {name: n1}}]",
        "apiVersion: v1\nkind: List\nx: &x {name: n1}\nitems:\n- {apiVersion: v1, kind: Node, metadata: *x}",
    ] {
        let manifest = parse(list);
        assert_eq!(
            (&manifest.errors[..], manifest.objects.len()),
            (&[][..], 1),
            "{list}"
        );
    }
}

#[test]
fn tells_of_so_many_errors_and_no_more() {
    let manifest = parse(&"---\nhello\n".repeat(2 * ERRORS_MAX));

    assert_eq!(manifest.errors.len(), ERRORS_MAX);
}

#[test]
fn keeps_the_last_good_content_of_a_file() {
    let good = ManifestFile::read("a.yaml", Ok(SERVICE), None);
    assert_eq!((good.objects.len(), good.errors.len()), (1, 0));

    let torn = ManifestFile::read("a.yaml", Ok("apiVersion: v1\nkind: [Serv"), Some(&good));
    assert_eq!((torn.objects.len(), torn.errors.len()), (1, 1));

    let gone = ManifestFile::read("a.yaml", Err("permission denied".to_owned()), Some(&torn));
    assert_eq!(
        (gone.objects.len(), &*gone.errors[0]),
        (1, "permission denied")
    );

    let empty = ManifestFile::read("a.yaml", Ok(""), Some(&gone));
    assert_eq!((empty.objects.len(), empty.errors.len()), (0, 0));
}

#[test]
fn takes_the_good_documents_of_a_file_that_never_was_good() {
    let text = format!("hello\n---\n{SERVICE}");

    let file = ManifestFile::read("a.yaml", Ok(&text), None);

    assert_eq!((file.objects.len(), file.errors.len()), (1, 1));
}

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - {port: 80}\n";

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let manifest = parse(text);
    let error = manifest.errors[0].to_string();
    assert!(error.starts_with(expected), "{error}");
}
