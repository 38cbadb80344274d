module("acme.example/golden")
