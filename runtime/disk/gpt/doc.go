// Package gpt writes and reads GUID partition tables, as of the UEFI
// specification 2.10, chapter 5. Sectors have 512 bytes and a table has room
// for 128 partitions, which is what every firmware and tool expects.
package gpt
