"""What is taken for a secret, and what is not."""

import pytest

from trials.secrets import without_secrets


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
        ('{"secret": "abc\\"defgh"}', '{"secret": "***"}'),
        ('{"api_key": "abcdefgh", "size": 3}', '{"api_key": "***", "size": 3}'),
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
    ],
)
def test_what_is_no_secret_is_left(text):
    assert without_secrets(text) == text


def test_fields_of_data_are_hidden_by_their_names():
    given = {"arguments": {"token": "abcdefgh", "tokens": "abcdefgh", "deep": [{"password": "abcdefgh"}]}}
    hidden = {"arguments": {"token": "***", "tokens": "abcdefgh", "deep": [{"password": "***"}]}}
    assert without_secrets(given) == hidden
