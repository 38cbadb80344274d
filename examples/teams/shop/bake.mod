module("acme.example/shop")

require(
    "acme.example/golden",
    "v1.1.0",
    name = "acme",
    source = "oci://registry.example/images/golden",
)
