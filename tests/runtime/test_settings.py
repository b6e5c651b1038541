"""Settings that more must be said of than their type."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from runtime.settings import SettingsError, load, variable, webhook_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_key_of_webhooks_is_read_from_its_secret() -> None:
    key = webhook_key(SecretStr(SECRET))
    assert key is not None
    assert len(key) == 24
    assert webhook_key(None) is None


@pytest.mark.parametrize("secret", [SECRET[6:], "whsec_c2hvcnQ=", "whsec_not-base64!", "whsec_" + "A" * 200])
def test_a_secret_that_cannot_be_one_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("EVERTHREAD_WEBHOOK_SECRET", secret)
    with pytest.raises(SettingsError, match="whsec_ and then 24 to 64 random bytes") as caught:
        load()
    assert secret.removeprefix("whsec_") not in str(caught.value)


def test_a_variable_that_is_no_setting_is_read_from_the_environment_and_then_from_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("A_TOKEN=of the file\nB_TOKEN=of the file\nC_TOKEN=\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_TOKEN", "of the environment")
    names = ("A_TOKEN", "B_TOKEN", "C_TOKEN", "D_TOKEN", "a_token")
    assert list(map(variable, names)) == ["of the environment", "of the file", None, None, None]


def test_more_replicas_cannot_have_a_write_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTHREAD_QDRANT_REPLICATION_FACTOR", "2")
    monkeypatch.setenv("EVERTHREAD_QDRANT_WRITE_CONSISTENCY_FACTOR", "3")
    with pytest.raises(SettingsError, match="raise EVERTHREAD_QDRANT_REPLICATION_FACTOR"):
        load()
