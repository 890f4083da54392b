"""A configuration is taken whole or refused whole, and never shows a key."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from leanbase_relay import config
from leanbase_relay.config import Config, Secret
from leanbase_relay.errors import ConfigError

KEY = "phc_k3yOfTheDefaultProject"
ENVIRON = {"LEANBASE_API_KEY": KEY}


def parse(document: object, **environ: str) -> Config:
    return config.parse(document, environ=environ or ENVIRON, where="config.yaml")


def setting(key: str, value: object) -> dict[str, Any]:
    group, _, name = key.partition(".")
    return {group: {name: value}}


def complaints(document: object, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        parse(document, **environ)
    return refused.value.problems


def complaints_of_file(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        config.load(path, environ=ENVIRON)
    return refused.value.problems


def test_a_key_in_the_environment_is_configuration_enough() -> None:
    parsed = parse(None)

    assert list(parsed.projects) == ["default"]
    assert parsed.projects["default"].api_key.reveal() == KEY
    assert parsed.batch == config.BatchConfig(5000, 4 * 1024**2, 1.0)
    assert parsed.spool.patterns == ("*.jsonl", "*.ndjson", "*.jsonl.gz")


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("upstream.url", "https://eu.example.com/", "https://eu.example.com"),
        ("upstream.url", "http://[::1]:8000/base", "http://[::1]:8000/base"),
        ("upstream.proxy", "http://me:pass@proxy:3128", "http://me:pass@proxy:3128"),
        ("upstream.ca_file", "/etc/ssl/own.pem", Path("/etc/ssl/own.pem")),
        ("upstream.compression", "none", "none"),
        ("http.listen", ["127.0.0.1:80", "[::1]:8010"], ("127.0.0.1:80", "[::1]:8010")),
        ("http.listen", ["localhost:8010"], ("localhost:8010",)),
        ("http.listen", ["unix:/run/http.sock"], ("unix:/run/http.sock",)),
        ("metrics.listen", ["127.0.0.1:80", "[::1]:81"], ("127.0.0.1:80", "[::1]:81")),
        ("metrics.listen", ["localhost:9418"], ("localhost:9418",)),
        ("metrics.listen", ["unix:/run/m.sock"], ("unix:/run/m.sock",)),
        ("batch.max_events", 1, 1),
        ("batch.max_bytes", 921600, 921600),
        ("batch.max_bytes", "1048576", 1024**2),
        ("batch.max_bytes", "2GiB", 2 * 1024**3),
        ("retry.max_attempts", 7, 7),
        ("retry.max_attempts", None, None),
        ("socket.mode", "0600", 0o600),
        ("socket.mode", "777", 0o777),
        ("socket.mode", yaml.safe_load("0660"), 0o660),
        ("socket.group", "www-data", "www-data"),
        ("socket.allow_uids", [0, 33], (0, 33)),
        ("spool.path", None, None),
        ("spool.patterns", ["posthog.log"], ("posthog.log",)),
        ("events.disable_geoip", True, True),
        ("log.level", "debug", "debug"),
    ],
)
def test_a_value_is_read(key: str, given: object, expected: object) -> None:
    parsed = parse(setting(key, given))

    group, _, name = key.partition(".")
    assert getattr(getattr(parsed, group), name) == expected


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("250ms", 0.25), ("5s", 5.0), ("5m", 300.0), ("2h", 7200.0), ("500h", 1.8e6)],
)
def test_a_duration_is_read_in_its_unit(given: str, seconds: float) -> None:
    assert parse(setting("batch.max_wait", given)).batch.max_wait_seconds == seconds


@pytest.mark.parametrize(
    ("key", "given", "complaint"),
    [
        ("upstream.url", "us.i.leanbase.com", "is not a base URL"),
        ("upstream.url", "ftp://us.i.leanbase.com", "is not a base URL"),
        ("upstream.url", "https://", "is not a base URL"),
        ("upstream.url", "https://host:99999", "is not a base URL"),
        ("upstream.url", "https://host/?key=1", "is not a base URL"),
        ("upstream.url", "https://a host", "is not a base URL"),
        ("upstream.proxy", "proxy:3128", "is not a proxy's URL"),
        ("upstream.compression", None, "null is not known; write gzip or none"),
        ("upstream.ca_file", "own.pem", "is not an absolute path"),
        ("batch.max_events", 0, "is not a count"),
        ("batch.max_events", -5, "is not a count"),
        ("batch.max_events", True, "true is not a count"),
        ("batch.max_events", "many", "is not a count"),
        ("batch.max_events", 1.5, "is not a count"),
        ("batch.max_bytes", 0, "is not a size"),
        ("batch.max_bytes", -1, "is not a size"),
        ("batch.max_bytes", True, "is not a size"),
        ("batch.max_bytes", "4MB", "is not a size"),
        ("batch.max_bytes", "9999999999999GiB", "is not a size"),
        ("batch.max_wait", 5, "5 is not a duration; write 250ms, 5s"),
        ("batch.max_wait", "0s", "is not a duration"),
        ("batch.max_wait", "-1s", "is not a duration"),
        ("batch.max_wait", "1d", "is not a duration"),
        ("batch.max_wait", float("nan"), "is not a duration"),
        ("batch.max_wait", float("inf"), "is not a duration"),
        ("batch.max_wait", "9999999h", "is not a duration"),
        ("retry.max_attempts", 0, "is not a count"),
        ("store.path", "relay.db", "is not an absolute path"),
        ("store.path", "/a\0b", "is not an absolute path"),
        ("store.path", None, "null is not an absolute path"),
        ("store.when_full", "explode", "write reject or drop_oldest"),
        ("socket.path", "/run/" + "x" * 103, "is over 107 bytes"),
        ("socket.mode", 0o1777, "is not a file mode"),
        ("socket.mode", "rw-rw----", "is not a file mode"),
        ("socket.mode", True, "is not a file mode"),
        ("socket.group", 33, "is not a text"),
        ("socket.allow_uids", 33, "is not a list of user ids"),
        ("socket.allow_uids", [], "is not a list of user ids"),
        ("socket.allow_uids", [-1], "is not a list of user ids"),
        ("socket.allow_uids", [True], "is not a list of user ids"),
        ("spool.patterns", "*.jsonl", "is not a list of file name patterns"),
        ("spool.patterns", [], "is not a list of file name patterns"),
        ("spool.patterns", ["a/*.jsonl"], "is not a list of file name patterns"),
        ("http.listen", ["8010"], "is not a list of addresses"),
        ("http.listen", ["0.0.0.0:8010"], "0.0.0.0:8010 can be reached from other"),
        ("http.listen", ["[::]:8010"], "[::]:8010 can be reached from other machines"),
        (
            "http.listen",
            ["relay.example.com:80"],
            "write 127.0.0.1, [::1] or localhost",
        ),
        ("http.listen", ["unix:/run/" + "x" * 103], "is over 107 bytes"),
        ("http.listen", ["[::1]:80", "[::1]:80"], "has an address twice"),
        ("metrics.listen", ["0.0.0.0:9418"], "can be reached from other machines"),
        ("metrics.listen", ["[::]:9418"], "can be reached from other machines"),
        ("metrics.listen", ["example.com:80"], "can be reached from other machines"),
        ("metrics.listen", ["[::1]:80", "[::1]:80"], "has an address twice"),
        ("events.disable_geoip", "yes", "is neither true nor false"),
        ("log.level", False, "false is not known; write debug or info"),
    ],
)
def test_a_wrong_value_is_refused(key: str, given: object, complaint: str) -> None:
    [problem] = complaints(setting(key, given))

    assert problem.startswith(f"{key}: ")
    assert complaint in problem


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (
            {"upstream": {"connect_timeout": "1m"}},
            (
                "upstream.connect_timeout: 1m is more than upstream.timeout (30s); "
                "it is a part of that time"
            ),
        ),
        (
            {"retry": {"max_delay": "500ms"}},
            (
                "retry.max_delay: 500ms is less than retry.first_delay (1s); "
                "delays only grow"
            ),
        ),
        (
            {"store": {"max_bytes": "31MiB"}, "dead_letters": {"max_bytes": "1MiB"}},
            (
                "store.max_bytes: 31MiB is less than 32MiB; "
                "SQLite's write-ahead log needs the room"
            ),
        ),
        (
            {"dead_letters": {"max_bytes": "1GiB"}},
            (
                "dead_letters.max_bytes: 1GiB is not less than store.max_bytes (1GiB); "
                "they are a part of it"
            ),
        ),
        (
            {"batch": {"max_bytes": "512KiB"}},
            (
                "events.max_bytes: 900KiB is more than batch.max_bytes (512KiB); "
                "an event must fit into a batch"
            ),
        ),
        (
            {"events": {"max_bytes": "21MiB"}, "batch": {"max_bytes": "32MiB"}},
            (
                "events.max_bytes: 21MiB is more than 20MiB; "
                "the upstream takes no larger request"
            ),
        ),
        (
            {"control": {"path": "/run/leanbase-relay/relay.sock"}},
            (
                "control.path: /run/leanbase-relay/relay.sock is the same as "
                "socket.path (/run/leanbase-relay/relay.sock); "
                "each needs a path of its own"
            ),
        ),
        (
            {"metrics": {"listen": ["unix:/run/leanbase-relay/control.sock"]}},
            (
                "metrics.listen: unix:/run/leanbase-relay/control.sock is "
                "control.path; each needs a path of its own"
            ),
        ),
        (
            {"http": {"listen": ["unix:/run/leanbase-relay/control.sock"]}},
            (
                "http.listen: unix:/run/leanbase-relay/control.sock is control.path; "
                "each needs a path of its own"
            ),
        ),
    ],
)
def test_an_impossible_combination_is_refused(document: object, complaint: str) -> None:
    assert complaints(document) == (complaint,)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (
            {"bach": {"max_events": 1}},
            "bach.max_events: no such setting; did you mean batch.max_events?",
        ),
        (
            {"batch": {"max_event": 1}},
            "batch.max_event: no such setting; did you mean batch.max_events?",
        ),
        (
            {"dead-letters": None},
            "dead-letters: no such setting; did you mean dead_letters?",
        ),
        (
            {"projects": {"default": {"apikey": KEY}}},
            (
                "projects.default.apikey: no such setting; "
                "did you mean projects.default.api_key?"
            ),
        ),
        ({"colour": "red"}, "colour: no such setting"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(
    document: object, complaint: str
) -> None:
    assert complaints(document) == (complaint,)


def test_ten_mistakes_are_ten_complaints_each_with_its_key() -> None:
    document = {
        "upstream": {"url": "nowhere", "timeout": 30},
        "projects": {"shop": {"api_key": ""}},
        "batch": {"max_events": True, "max_byte": 1},
        "retry": {"first_delay": "10m"},
        "store": {"max_bytes": "lots"},
        "socket": ["/run/relay.sock"],
        "spool": {"patterns": []},
        "log": {"level": "loud"},
    }

    problems = complaints(document)

    assert sorted(problem.partition(":")[0] for problem in problems) == [
        "batch.max_byte",
        "batch.max_events",
        "log.level",
        "projects.shop",
        "retry.max_delay",
        "socket",
        "spool.patterns",
        "store.max_bytes",
        "upstream.timeout",
        "upstream.url",
    ]
    assert (
        "store.max_bytes: 'lots' is not a size; "
        "write bytes or a size such as 512MiB" in problems
    )


def test_a_group_whose_lines_are_all_comments_keeps_its_defaults() -> None:
    assert parse({"batch": None, "projects": {"default": None}}) == parse({})


@pytest.mark.parametrize("document", [[], "text", 5, False])
def test_a_document_that_holds_no_settings_is_refused(document: object) -> None:
    [problem] = complaints(document)

    assert problem.startswith("config.yaml: holds no settings")


# --- Keys


def test_each_project_has_its_own_key_and_default_comes_first() -> None:
    parsed = parse(
        {"projects": {"shop": {"api_key": " phc_shop\n"}, "b": {"api_key": KEY}}}
    )

    keys = {name: each.api_key.reveal() for name, each in parsed.projects.items()}
    assert list(keys.items()) == [("default", KEY), ("shop", "phc_shop"), ("b", KEY)]


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("phc_from_file\n")

    parsed = parse({"projects": {"default": {"api_key_file": str(file)}}})

    assert parsed.projects["default"].api_key == Secret("phc_from_file")


@pytest.mark.parametrize("name", ["api_key", "api_key.default"])
def test_a_credential_comes_before_the_variable(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("phc_credential\n")

    parsed = parse(None, CREDENTIALS_DIRECTORY=str(tmp_path), LEANBASE_API_KEY=KEY)

    assert parsed.projects["default"].api_key == Secret("phc_credential")


def test_a_further_project_finds_its_own_credential_only(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("phc_default")
    (tmp_path / "api_key.shop").write_text("phc_shop")
    document = {"projects": {"shop": None, "other": None}}

    problems = complaints(document, CREDENTIALS_DIRECTORY=str(tmp_path))

    assert problems == (
        (
            "projects.other: has no key; write api_key or api_key_file, "
            "or pass the credential api_key.other"
        ),
    )


def test_a_project_without_any_key_is_told_where_one_may_come_from() -> None:
    assert complaints({}, LEANBASE_API_KEY="") == (
        (
            "projects.default: has no key; write api_key or api_key_file, "
            "or pass the credential api_key, or set $LEANBASE_API_KEY"
        ),
    )


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("  ", "api_key is empty"),
        ("phx_personalSecret", "api_key is a personal API key"),
        ("s3cret" * 11, "api_key is longer than"),
        ("s3cret-ключ", "api_key holds more than printable ASCII"),
        ("s3cret\0", "api_key holds more than printable ASCII"),
        ("s3cret two", "api_key holds more than printable ASCII"),
        (12345, "api_key is not text"),
        (["s3cret"], "api_key is not text"),
    ],
)
def test_a_key_that_the_upstream_would_refuse_is_refused_unseen(
    key: object, complaint: str
) -> None:
    [problem] = complaints({"projects": {"default": {"api_key": key}}})

    assert problem.startswith(f"projects.default: {complaint}")
    assert "s3cret" not in problem
    assert "personalSecret" not in problem
    assert "12345" not in problem


@pytest.mark.parametrize(
    "members",
    [
        {"api_key": KEY, "api_key_file": "/etc/key"},
        {"api_key_file": "key"},
        {"api_key_file": "/does/not/exist"},
        KEY,
        [KEY],
        {KEY: None},
        {"api_key": KEY, "url": KEY},
    ],
)
def test_a_complaint_about_a_project_never_shows_its_key(members: object) -> None:
    [problem] = complaints({"projects": {"default": members}})

    assert problem.startswith("projects.default")
    assert KEY not in problem


def test_projects_that_are_no_group_are_refused_unseen() -> None:
    [problem] = complaints({"projects": [KEY]})

    assert problem.startswith("projects: holds no projects")
    assert KEY not in problem


@pytest.mark.parametrize("name", ["", "-a", "a/b", "..", "a b", "ü", "a" * 65, 7, True])
def test_a_project_name_that_is_no_directory_name_is_refused(name: object) -> None:
    [problem] = complaints({"projects": {name: {"api_key": KEY}}})

    assert problem.startswith(f"projects.{name}: is not a project's name")


def test_a_secret_is_shown_only_on_request() -> None:
    secret = Secret(KEY)

    shown = f"{secret} {secret!r} {[secret]}"

    assert KEY not in shown
    assert "********" in shown
    assert secret.reveal() == KEY


def test_neither_repr_nor_dump_nor_description_shows_a_secret() -> None:
    parsed = parse({"upstream": {"proxy": "http://me:hunter2@proxy:3128"}})

    texts = f"{parsed!r} {config.describe(parsed)}"
    dumped = repr(dataclasses.asdict(parsed)["projects"])

    assert KEY not in texts + dumped
    assert "hunter2" not in texts
    assert "proxy: http://********@proxy:3128" in texts


@pytest.mark.parametrize("key", ["upstream.url", "upstream.proxy", "batch.max_wait"])
def test_a_password_in_a_url_is_not_repeated_in_the_complaint(key: str) -> None:
    [problem] = complaints(setting(key, "https://me:hunter2@host:0/?x"))

    assert "https://********@host:0/?x" in problem


# --- Description


def test_the_description_can_be_read_again() -> None:
    parsed = parse(
        {
            "upstream": {"timeout": "1500ms", "connect_timeout": "1s"},
            "socket": {"mode": "0600", "allow_uids": [0]},
            "batch": {"max_bytes": 4_000_001},
        }
    )

    described = config.describe(parsed)

    again = parse(yaml.safe_load(described))
    assert dataclasses.replace(again, projects=parsed.projects) == parsed
    assert yaml.safe_load(described)["upstream"]["timeout"] == "1500ms"
    assert yaml.safe_load(described)["socket"]["mode"] == "0600"


# --- Files


def test_the_file_is_looked_for_in_the_argument_then_the_environment(
    tmp_path: Path,
) -> None:
    argument, variable = tmp_path / "argument.yaml", tmp_path / "variable.yaml"
    argument.write_text("batch: {max_events: 1}")
    variable.write_text("batch: {max_events: 2}")
    environ = {**ENVIRON, "LEANBASE_RELAY_CONFIG": str(variable)}

    assert config.load(argument, environ=environ).batch.max_events == 1
    assert config.load(environ=environ).batch.max_events == 2


def test_a_missing_file_is_named_with_the_ways_to_name_another(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"

    [problem] = complaints_of_file(path)

    assert problem.startswith(f"{path}: there is no such file")
    assert "$LEANBASE_RELAY_CONFIG" in problem


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert complaints_of_file(tmp_path) == (
        f"{tmp_path}: cannot be read: Is a directory",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("batch:\n\tmax_events: 1", "is not YAML: line 2: found character '\\t'"),
        (f"a: 1\nprojects: {{default: *{KEY}", "is not YAML: line 2"),
        (f"a: !{KEY} x", "is not YAML: line 1"),
        ("a: 2024-99-99", "is not YAML; look for a value that needs quotes"),
        ("[" * 1000, "is not YAML"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_a_syntax_error_is_shown_with_its_line_but_without_the_text(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)

    [problem] = complaints_of_file(path)

    assert problem.startswith(f"{path}: {complaint}")
    assert KEY not in problem


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"log: {level: \xff}")

    assert complaints_of_file(path) == (f"{path}: is not UTF-8 text",)


def test_a_setting_written_twice_is_refused_beside_the_other_complaints(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("batch:\n  max_events: 1\n  max_events: 2\nlog: {level: loud}\n")

    twice, level = complaints_of_file(path)

    assert twice == ("batch.max_events: line 3 gives it a second time; write it once")
    assert level.startswith("log.level: ")


def test_reading_the_configuration_imports_nothing_heavy() -> None:
    program = (
        "import sys, leanbase_relay.config\n"
        "heavy = {'msgspec', 'requests', 'sqlite_utils', 'click', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )

    printed = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert printed == "[]\n"
