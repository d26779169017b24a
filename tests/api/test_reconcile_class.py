"""What the real operator finds wrong with a node class."""

from tests.api.reconciling import Farm


def test_a_price_in_no_known_currency_is_told_and_mended(farm: Farm) -> None:
    def price(currency: str) -> None:
        spec = {"price": {"currency": currency, "machinePerHour": "0.80"}}
        farm.patch("RenderNodeClass", farm.class_name, {"spec": spec})

    price("ZZZ")
    ready = farm.wait_reason("RenderNodeClass", farm.class_name, "Ready", "CurrencyUnknown")
    assert ready["status"] == "False"
    assert "spec.price.currency 'ZZZ' is no currency of ISO 4217: write" in ready["message"]
    assert farm.condition("RenderNodeClass", farm.class_name, "Stalled")["status"] == "True"
    price("JPY")
    ready = farm.wait_reason("RenderNodeClass", farm.class_name, "Ready", "Offered")
    assert ready["status"] == "True"
    assert farm.condition("RenderNodeClass", farm.class_name, "Stalled")["status"] == "False"
