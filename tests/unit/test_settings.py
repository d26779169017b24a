import pytest
from drqueue.control.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({"DRQUEUE_STORAGE_CLASS": "", "DRQUEUE_LEASE_SECONDS": " "})
    assert settings.namespace == "drqueue"
    assert settings.storage_class is None
    assert settings.lease_seconds == 60.0
    assert settings.watch_namespaces == ()


def test_two_processes_of_one_machine_are_told_apart() -> None:
    assert Settings.from_env({}).identity != Settings.from_env({}).identity


def test_values_are_read() -> None:
    settings = Settings.from_env(
        {
            "DRQUEUE_NAMESPACE": "farm",
            "DRQUEUE_WATCH_NAMESPACES": "studio-a, studio-b,",
            "DRQUEUE_MASTER_RESOURCES": '{"requests": {"cpu": "100m"}}',
            "DRQUEUE_API_QPS": "50",
            "DRQUEUE_LOG_FORMAT": "plain",
            "DRQUEUE_IDENTITY": "pod-1",
        }
    )
    assert settings.watch_namespaces == ("studio-a", "studio-b")
    assert settings.master_resources == {"requests": {"cpu": "100m"}}
    assert (settings.api_qps, settings.log_format) == (50.0, "plain")
    assert (settings.namespace, settings.identity) == ("farm", "pod-1")


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("API_QPS", "fast", "a number of at least 1"),
        ("API_QPS", "0", "a number of at least 1"),
        ("SWEEP_SECONDS", "nan", "a number of at least 1"),
        ("LEADER_SECONDS", "inf", "a number of at least 5"),
        ("LOG_FORMAT", "xml", "one of json, plain"),
        ("DRY_RUN", "yes", "one of true, false"),
        ("LOG_LEVEL", "loud", "one of DEBUG, INFO, WARNING, ERROR"),
        ("IMAGE_PULL_POLICY", "Sometimes", "one of Always, IfNotPresent, Never"),
        ("MASTER_RESOURCES", "{", "not JSON"),
        ("MASTER_RESOURCES", "[]", "an object"),
    ],
)
def test_wrong_settings_are_named_with_their_remedy(name: str, value: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=f"DRQUEUE_{name}=") as caught:
        Settings.from_env({f"DRQUEUE_{name}": value})
    assert remedy in str(caught.value)
    assert repr(value) in str(caught.value)
