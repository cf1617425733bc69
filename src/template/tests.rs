use std::io;

use chrono::{DateTime, FixedOffset};
use proptest::prelude::*;

use super::*;

struct Fake;

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "CANARY").then(|| "sesame".to_owned())
    }

    fn file(&self, path: &str) -> io::Result<String> {
        match path {
            "/token" => Ok("  opens\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn now(&self) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339("2024-07-09T08:05:03.25+02:00").unwrap()
    }
}

fn data() -> Value {
    let reference = Value::map([
        ("Registry", "r.test:5000"),
        ("Repository", "team/app"),
        ("Tag", "v1.2"),
        ("Digest", ""),
    ]);
    let sync = Value::map([
        ("Source", Value::from("hub/app")),
        ("Platforms", vec!["linux/amd64", "linux/arm64"].into()),
        ("Parallel", 4.into()),
    ]);
    Value::map([("Ref", reference), ("Sync", sync)])
}

fn render(text: &str) -> Result<Rendered, TemplateError> {
    Template::parse(text)?.render(&data(), &Fake)
}

#[test]
fn what_go_prints() {
    for (template, expected) in [
        ("plain", "plain"),
        ("{{ .Ref.Tag }}", "v1.2"),
        (
            "{{.Ref.Registry}}/{{.Ref.Repository}}:{{.Ref.Tag}}",
            "r.test:5000/team/app:v1.2",
        ),
        (
            "{{$t := time.Now}}{{printf \"%s/backups/%s:%s-%d%d%d\" .Ref.Registry .Ref.Repository \
             .Ref.Tag $t.Year $t.Month $t.Day}}",
            "r.test:5000/backups/team/app:v1.2-202479",
        ),
        ("{{ $.Ref.Tag }}", "v1.2"),
        ("a {{- .Ref.Tag -}} b", "av1.2b"),
        ("a {{/* nothing */}} b", "a  b"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("{{ .Ref.Tag | upper }}", "V1.2"),
        (
            "{{ upper .Ref.Tag | lower | printf \"%s-%s\" \"x\" }}",
            "x-v1.2",
        ),
        ("{{ .Ref.Digest | default \"none\" }}", "none"),
        ("{{ default \"none\" .Ref.Tag }}", "v1.2"),
        (
            "{{ join .Sync.Platforms \",\" }}",
            "linux/amd64,linux/arm64",
        ),
        ("{{ .Sync.Platforms }}", "[linux/amd64 linux/arm64]"),
        ("{{ index (split .Ref.Repository \"/\") 1 }}", "app"),
        ("{{ len .Sync.Platforms }}{{ len .Ref.Tag }}", "24"),
        ("{{ trimSpace \" x \" }}|", "x|"),
        (
            "{{ json .Ref.Tag }}{{ json .Sync.Platforms }}",
            "\"v1.2\"[\"linux/amd64\",\"linux/arm64\"]",
        ),
        (
            "{{ jsonPretty .Sync.Platforms }}",
            "[\n  \"linux/amd64\",\n  \"linux/arm64\"\n]",
        ),
        (
            "{{ if .Ref.Digest }}d{{ else if eq .Ref.Tag \"v1.2\" }}t{{ else }}n{{ end }}",
            "t",
        ),
        ("{{ if and .Ref.Tag (not .Ref.Digest) }}y{{ end }}", "y"),
        ("{{ or .Ref.Digest \"x\" }}{{ and 1 0 }}", "x0"),
        (
            "{{ with .Ref }}{{ .Tag }}{{ end }}{{ with .Ref.Digest }}x{{ else }}y{{ end }}",
            "v1.2y",
        ),
        (
            "{{ range .Sync.Platforms }}<{{ . }}>{{ end }}",
            "<linux/amd64><linux/arm64>",
        ),
        (
            "{{ range $i, $p := .Sync.Platforms }}{{ $i }}={{ $p }} {{ end }}",
            "0=linux/amd64 1=linux/arm64 ",
        ),
        (
            "{{ range .Ref }}{{ . }},{{ end }}",
            ",r.test:5000,team/app,v1.2,",
        ),
        (
            "{{ range split \"a,b,c\" \",\" }}{{ if eq . \"b\" }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "ac",
        ),
        (
            "{{ range split \"a,b,c\" \",\" }}{{ if eq . \"b\" }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "a",
        ),
        ("{{ range split \"\" \",\" }}[{{ . }}]{{ end }}", "[]"),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}",
            "2",
        ),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}",
            "1",
        ),
        (
            "{{ eq 1 2 1 }}{{ ne \"a\" \"b\" }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt 1 2 }}{{ ge 1 2 }}",
            "truetruetruetruefalsefalse",
        ),
        ("{{ print 1 2 \"a\" \"b\" 3 }}", "1 2ab3"),
        (
            "{{ printf \"%05d|%-5s|%5s|%q|%x|%v|%t|%%\" 42 \"a\" \"b\" \"c\" 255 true false }}",
            "00042|a    |    b|\"c\"|ff|true|false|%",
        ),
        ("{{ printf \"%d\" \"x\" }}", "%!d(string=x)"),
        (
            "{{ printf \"%s\" }}{{ printf \"a\" 1 }}",
            "%!s(MISSING)a%!(EXTRA int=1)",
        ),
        (
            "{{ printf \"%02d\" time.Now.Month }} {{ time.Now.Month }}",
            "07 July",
        ),
        (
            "{{ time.Now.Weekday }} {{ time.Now.YearDay }}",
            "Tuesday 191",
        ),
        (
            "{{ time.Now.Format \"2006-01-02 15:04:05 -0700\" }}",
            "2024-07-09 08:05:03 +0200",
        ),
        (
            "{{ (time.Now).Format \"Jan _2 3:4:5PM 06 Mon\" }}",
            "Jul  9 8:5:3AM 24 Tue",
        ),
        (
            "{{ time.Now.UTC.Format \"20060102T150405Z07:00\" }}",
            "20240709T060503Z",
        ),
        (
            "{{ time.Now.Format \"January 2.000 -07:00 -07\" }}",
            "July 9.250 +02:00 +02",
        ),
        ("{{ time.Now }}", "2024-07-09 08:05:03.25 +0200 +0200"),
        ("{{ time.Now.Unix }}", "1720505103"),
        (
            "{{ (time.Parse \"2006-01-02\" \"2024-12-31\").YearDay }}",
            "366",
        ),
        (
            "{{ $t := time.Parse \"2006-01-02T15:04:05Z07:00\" \"2024-12-31T23:59:58Z\" }}{{ $t.Unix }}",
            "1735689598",
        ),
        (
            "{{ `a\"b` }}{{ 'x' }}{{ 0x10 }}{{ 1.5 }}{{ -3 }}",
            "a\"b120161.5-3",
        ),
        ("{{ slice .Ref.Tag 1 2 }}", "1"),
        (
            "{{ 1234567.5 }} {{ 100000.0 }} {{ 1e21 }} {{ 0.00001 }} {{ 1e3 }}",
            "1.2345675e+06 100000 1e+21 1e-05 1000",
        ),
        (
            "{{ printf \"%q %5s|%x\" .Sync.Platforms (split \"a,b\" \",\") (split \"a\" \",\") }}",
            "[\"linux/amd64\" \"linux/arm64\"] [    a     b]|[61]",
        ),
        ("{{ printf \"%[2]s-%[1]s\" \"a\" \"b\" }}", "b-a"),
        (
            "{{ printf \"%.3s %c %X\" time.Now.Month 65 \"az\" }}",
            "Jul A 617A",
        ),
        ("{{ json \"<a>&\" }}", "\"\\u003ca\\u003e\\u0026\""),
        ("{{ index .Sync \"Parallel\" }}", "4"),
        (
            "{{ printf \"%s\" .Sync.Platforms }}",
            "[linux/amd64 linux/arm64]",
        ),
        (
            "{{ env \"NOT_SET\" }}|{{ env \"NOT_SET\" | default \"x\" }}",
            "|x",
        ),
    ] {
        match render(template) {
            Ok(rendered) => assert_eq!(rendered.text, expected, "{template}"),
            Err(error) => panic!("{template}: {error}"),
        }
    }
}

#[test]
fn what_env_and_file_give_taints_what_is_made_of_it() {
    for (template, text, secret) in [
        ("{{ .Ref.Tag }}", "v1.2", false),
        ("{{ env \"CANARY\" }}", "sesame", true),
        ("{{ file \"/token\" }}", "opens", true),
        ("{{ $x := env \"CANARY\" }}{{ .Ref.Tag }}", "v1.2", false),
        ("{{ $x := env \"CANARY\" | upper }}{{ $x }}", "SESAME", true),
        (
            "{{ if eq (env \"CANARY\") \"sesame\" }}yes{{ end }}",
            "yes",
            true,
        ),
        ("{{ if env \"NOT_SET\" }}yes{{ end }}", "", true),
        (
            "{{ $x := 1 }}{{ if env \"CANARY\" }}{{ $x = 2 }}{{ end }}{{ $x }}",
            "2",
            true,
        ),
        (
            "{{ range split (env \"CANARY\") \"s\" }}{{ . }};{{ end }}",
            ";e;ame;",
            true,
        ),
        ("{{ with env \"CANARY\" }}x{{ end }}", "x", true),
        ("{{ len (env \"CANARY\") }}", "6", true),
        ("{{ printf \"%s\" (env \"CANARY\") }}", "sesame", true),
        ("{{ or (env \"NOT_SET\") \"x\" }}", "x", true),
        ("{{ default \"x\" (env \"NOT_SET\") }}", "x", true),
    ] {
        let rendered = render(template).unwrap();
        assert_eq!(
            (rendered.text.as_str(), rendered.secret),
            (text, secret),
            "{template}"
        );
        assert!(!secret || !format!("{rendered:?}").contains("sesame"));
    }
}

#[test]
fn faults_are_told_with_their_place_and_a_way_out() {
    for (template, offset, told) in [
        ("a {{ .Ref.Tag", 2, "not closed"),
        (
            "{{ .Ref.Tga }}",
            7,
            "there is no `.Tga` here: did you mean `Tag`?",
        ),
        ("{{ .Reff.Tag }}", 3, "did you mean `Ref`?"),
        (
            "{{ envv \"X\" }}",
            3,
            "there is no function `envv`: did you mean `env`?",
        ),
        ("{{ if true }}x", 0, "`if` has no `{{end}}`"),
        ("x{{ end }}", 1, "has no beginning"),
        ("{{ else }}", 0, "has no beginning"),
        (
            "{{ if true }}{{ else }}{{ else }}{{ end }}",
            23,
            "an `else` already",
        ),
        ("{{ $x }}", 3, "there is no variable `$x`"),
        ("{{ \"a }}", 3, "not closed with \""),
        ("{{ upper }}", 3, "`upper` gets 1 arguments, and here are 0"),
        ("{{ upper 1 }}", 3, "gets text, and this is a number"),
        (
            "{{ index .Sync.Platforms 7 }}",
            3,
            "7 is beyond the list, which has 2",
        ),
        ("{{ file \"/nowhere\" }}", 3, "cannot read \"/nowhere\""),
        ("{{ template \"x\" }}", 0, "`template` is not offered"),
        ("{{ break }}", 0, "stands in a `range`"),
        ("{{ eq 1 \"a\" }}", 3, "cannot compare a number with text"),
        ("{{ (1 }}", 3, "not closed with `)`"),
        ("{{ 1 ) }}", 5, "a `)` without its `(`"),
        ("{{ .Ref.Tag \"x\" }}", 7, "gets no arguments"),
        (
            "{{ time.Nwo }}",
            7,
            "`time` has no `.Nwo`: did you mean `Now`?",
        ),
        (
            "{{ time.Now.Yaer }}",
            11,
            "a time has no `.Yaer`: did you mean `Year`?",
        ),
        ("{{ time.Parse \"2006\" \"x\" }}", 7, "cannot read \"x\""),
        ("{{ range 5.5 }}{{ end }}", 0, "a list or a map"),
        ("{{ }}", 0, "missing here"),
        ("{{ # }}", 3, "has no meaning"),
    ] {
        let error = render(template).unwrap_err();
        assert_eq!(error.offset, offset, "{template}: {error}");
        assert!(error.message.contains(told), "{template}: {error}");
    }
}

#[test]
fn errors_hold_no_secrets() {
    for template in [
        "{{ file (env \"CANARY\") }}",
        "{{ index (split (env \"CANARY\") \"e\") 9 }}",
        "{{ time.Parse (env \"CANARY\") \"x\" }}",
        "{{ (env \"CANARY\").Field }}",
        "{{ upper (split (env \"CANARY\") \"e\") }}",
    ] {
        let error = render(template).unwrap_err().to_string();
        assert!(!error.contains("sesame"), "{error}");
    }
}

#[test]
fn no_template_runs_away() {
    let nested = format!("{}{}", "{{ if true }}".repeat(300), "{{ end }}".repeat(300));
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    let else_if = format!(
        "{{{{ if 0 }}}}{}{{{{ end }}}}",
        "{{ else if 0 }}".repeat(3000)
    );
    for template in [
        "{{ range 1000000 }}{{ range 1000000 }}{{ end }}{{ end }}",
        "{{ $x := \"aaaaaaaa\" }}{{ range 1000 }}{{ $x = print $x $x }}{{ end }}",
        &nested,
        &parentheses,
        &else_if,
        &"x".repeat(MAX_TEXT + 1),
        "{{ range 100000 }}xxxxxxxxxxxxxxxxxxxx{{ end }}",
    ] {
        assert!(
            render(template).is_err(),
            "{}",
            &template[..template.len().min(60)]
        );
    }
    assert_eq!(
        render("{{ printf \"%999999999d\" 1 }}").unwrap().text.len(),
        1000
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let _ = render(&text);
        let _ = render(&format!("{{{{{text}}}}}"));
    }

    #[test]
    fn what_is_near_a_template_never_panics(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "{{", "}}", "{{-", "-}}", " ", ".Ref", ".Tag", "$x", ":=", "=", "|", "(", ")", "if",
                "else", "end", "range", "with", "time", ".Now", ".Format", "\"2006\"", "printf",
                "\"%d%s%5.2f\"", "1", "-2", "index", "slice", "env", "\"CANARY\"", "split", "json",
                "é", "'x'", "`r`", "/*", "*/", ",", "break", "and", "eq", "nil", "true",
            ]),
            0..24,
        )
    ) {
        let _ = render(&words.concat());
        let _ = render(&words.join(" "));
    }
}
