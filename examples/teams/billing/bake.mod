module("acme.example/billing")

require(
    "acme.example/golden",
    "v1.0.0",
    name = "acme",
    source = "oci://registry.example/images/golden",
)
