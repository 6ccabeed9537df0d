"""What is taken for a secret, and what is not."""

import pytest

from trials import secrets
from trials.secrets import secret_in, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:pass/word@host/data", "postgresql://user:***@host/data"),
        ("host/data?sslkey=/etc/my.key&password=open", "host/data?sslkey=/etc/my.key&password=***"),
        ("s3://bucket/x?access_key=a&secret_key=b", "s3://bucket/x?access_key=***&secret_key=***"),
        ("  hf_token: abcdefgh", "  hf_token: ***"),
        ("aws_secret_access_key = 'AKIA1234'", "aws_secret_access_key = '***'"),
        ('{"hf_token": "abc,defgh", "size": 3}', '{"hf_token": "***", "size": 3}'),
        ("password: 'it is \"long\"' # and said", "password: '***' # and said"),
        ('passphrase: "a long one, cut', 'passphrase: "***'),
        ('{"secret": "abc\\"defgh"}', '{"secret": "***"}'),
        ('{"api_key": "abcdefgh", "size": 3}', '{"api_key": "***", "size": 3}'),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ('{"Authorization": "Basic dXNlcjpwYXNz"}', '{"Authorization": "Basic ***"}'),
        ("sent Bearer abc.def-123, was refused", "sent Bearer ***, was refused"),
        ("pwd: hunter22, pw: 'hunter22'", "pwd: ***, pw: '***'"),
        ("ssh_passphrase: correct-horse", "ssh_passphrase: ***"),
        ("private_key: MIIEvQIBADAN", "private_key: ***"),
        ("authToken: abcdefgh, clientSecret=abcdefgh", "authToken: ***, clientSecret=***"),
        ("https://h/x?sv=1&sig=a%2Bb%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("s3://b/x?X-Amz-Signature=ab12&X-Amz-Date=1", "s3://b/x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("auth: [user, hunter22]", "auth: [***]"),
        ("auth=('user', 'hunter22')", "auth=(***)"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key *** is unknown"),
        ("token hf_abcdefghijABCDEFGHIJabcdefghij1234", "token ***"),
        ("postgresql://user:my pass word@host/data", "postgresql://user:***@host/data"),
        ("at postgresql://user:my pass@host/data now", "at postgresql://user:***@host/data now"),
        ("sent Basic dXNlcjpwYXNz, was refused", "sent Basic ***, was refused"),
        ("passwd: hunter22, secret-key: abcdefgh", "passwd: ***, secret-key: ***"),
        ("credentials: abcdefgh, token: abcdef", "credentials: ***, token: ***"),
        *(
            (f"https://h/x?{name}=ab12&n=1", f"https://h/x?{name}=***&n=1")
            for name in (
                *("passwd", "passphrase", "client_secret", "access_token", "X-Amz-Credential"),
                *("pwd", "db.pw", "auth"),
            )
        ),
        *(
            (f"key {key} is unknown", "key *** is unknown")
            for key in (
                "ASIAIOSFODNN7EXAMPLE",
                "ghp_" + "a1" * 18,
                "github_pat_" + "a1" * 15,
                "glpat-" + "a1" * 10,
                "xoxb-" + "a1" * 5,
                "sk-" + "a1" * 10,
                "AIza" + "a1b" * 11 + "cd",
                "eyJhbGciOiJIUzI.eyJzdWIiOiIxMjM.SflKxwRJ",
            )
        ),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END", "-----BEGIN RSA PRIVATE KEY-----***-----END"),
    ],
)
def test_secrets_are_hidden(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "pool: token",
        "token: cls",
        'token: "cls", size: "123456"',
        "num_tokens: 1234567",
        "tokenizer: abcdefgh",
        "token:\n  nested: abcdefgh",
        "asks for a token, and this one is missing",
        "sqlite:////folder/ledger.db",
        "hf_token: ${env:HF_TOKEN}",
        'password: "${file:/run/secrets/pw}"',
        "postgresql://user:${env:PW}@host/data",
        "auth: [user, '${env:PW}']",
        "private_key: /home/me/.ssh/id_rsa",
        "pad_token: <padding>",
        "https://host:80/x, and mail to a@b.c",
        "https://h/x?sigma=0.5&design=wide",
        "the bearer of bad news is basic mathematics",
        "author: somebody, authority: high",
        "token: abcde",
        "sep_token: [SEPARATOR]",
        "multitoken: abcdefgh, multitoken: 'abc defgh', multiauth: [abcdefgh]",
        "xAKIAIOSFODNN7EXAMPLE and AKIAIOSFODNN7EXAMPLEX",
        "https://h/x?token=${env:TOKEN}",
        "at postgresql://user:${env:PW} and mail a@b.c",
        "see https://host:8080 and mail a@b.c",
        "https://host:name and more",
        3,
    ],
)
def test_what_is_no_secret_is_left(text):
    assert without_secrets(text) == text


SECRETS = {
    "its name": [
        {"headers": {"x-api-key": "abcdefgh"}},
        {"password": 12345678},
        {"pw": "abc"},
        {"password": "a"},
        {"token": "abcdef"},
        {"auth": ["user", "hunter22"]},
        {"clientSecret": "abcdefgh"},
        {"deep": [{"proxy": {"auth": {"user": "me", "word": "hunter22"}}}]},
    ],
    "its form": [
        {"url": "https://user:my pass@host/data"},
        {"headers": ["Authorization: Bearer abc.def-123"]},
        {"url": "https://host/data.zip?X-Amz-Signature=0123abcd"},
        {"id": "AKIAIOSFODNN7EXAMPLE"},
        {"pem": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC"},
    ],
    "it looks drawn at random": [
        {"wandb": "Zk4vP1sQe8mWx2Lr9TnB"},
        {"x": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY+Q2mT0sVd8z"},
        {"x": "q7h2k9x4m1z8w3v6p5r0t2y7"},
        {"x": "abcdef1ghijk2lmnop3qrstu"},
        {"x": "abcd1efgh2ijkl3mnopqrstuvw"},
        {"x": "g1h2i3j4k1l2m3n4" * 2},
    ],
}


@pytest.mark.parametrize(
    ("given", "why"), [(given, why) for why, all_given in SECRETS.items() for given in all_given]
)
def test_what_looks_like_a_secret_is_named_without_it(given, why):
    found = secret_in({"first": 1, **given})
    assert found is not None and found.endswith(why)
    assert found.startswith(next(iter(given))) and "hunter22" not in found


@pytest.mark.parametrize(
    "value",
    [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "d41d8cd98f00b204e9800998ecf8427e",
        "123e4567-e89b-12d3-a456-426614174000",
        "mypackage.networks.vision_transformers.experimental:VisionTransformerForImageClassification",
        "vit_base_patch16_224.augreg2_in21k_ft_in1k",
        "/data/imagenet/ILSVRC2012/train/n01440764/n01440764_10026.JPEG",
        "s3://bucket/experiments/2026-11-30T00-52-15Z/cifar10-C/gaussian_noise.npy",
        123456789012345678901234567890,
        20261130,
        "normal",
        "A1B2C3D4E5F60718A9BAC0D1E2F3A4B5",
        "aBcDeFgHiJkLmNoPqRsTuVwX",
        "g1h2k3m4g1h2k3m4g1h2k3m4",
        "abcd1efgh2ijkl3mnopqrstuvwx",
        "abcdefg1hijklmn2opqrstu3",
        "https://zenodo.org/record/2535967/files/CIFAR-10-C.tar?download=1",
        "${env:DATABASE_PASSWORD}",
        ["user", "${file:~/.password}"],
    ],
)
@pytest.mark.parametrize("name", ["checksum", "seed", "root", "network", "initialisation"])
def test_checksums_seeds_and_long_names_are_no_secrets(name, value):
    assert secret_in({name: value, "nested": [{name: value}]}) is None


@pytest.mark.parametrize("name", ["password", "auth", "hf_token", "privateKey"])
def test_a_reference_is_no_secret_whatever_its_name(name):
    assert secret_in({name: "${env:X}"}) is None
    assert secret_in({name: ["${env:X}", "${file:/x}"]}) is None
    assert secret_in({name: ["user", "${env:X}"]}) is secret_in({name: {"x": ["a", "${file:/x}"]}}) is None
    assert without_secrets({name: "${env:X}"}) == {name: "${env:X}"}


@pytest.mark.parametrize(
    "given",
    [
        *({"password": value} for value in ("", True, None, 1.5)),
        *({"auth": value} for value in ([], {}, [1.5], ["/etc/key"], [""], 12345678)),
        {"token": "cls"},
        {1: "hunter22"},
    ],
)
def test_what_holds_no_text_is_no_secret(given):
    assert secret_in(given) is None
    assert without_secrets(given) == given


def test_what_holds_secrets_keeps_its_form():
    given = {"auth": {"user": "me", "words": ["hunter22", "abcdefgh"]}}
    assert without_secrets(given) == {"auth": {"user": "***", "words": ["***", "***"]}}
    assert without_secrets({"x": [("pw: hunter22", 3)]}) == {"x": [["pw: ***", 3]]}


def test_what_was_looked_up_is_hidden_in_every_form(monkeypatch):
    monkeypatch.setattr(secrets, "_known", set())
    for value in ('a"b/é', "c\\d\x07", "first\nsecond line\n", "four", "two"):
        secrets.remember(value)
    forms = r"""<a"b/é> <a\"b/\u00e9> <a%22b%2F%C3%A9> <c\\d\x07> <c\\d\u0007> <first>"""
    text = f"{forms} second line: four two"
    shown = "<***> <***> <***> <***> <***> <***> ***: *** two"
    assert without_secrets(text) == shown
