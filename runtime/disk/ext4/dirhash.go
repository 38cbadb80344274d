package ext4

import "math/bits"

// hashHalfMD4 is the number of the hash in the superblock and in directories.
const hashHalfMD4 = 1

// A hashSeed is a superblock's seed for the hashes of names.
type hashSeed [4]uint32

func seedOf(b []byte) (s hashSeed) {
	for i := range s {
		s[i] = le.Uint32(b[4*i:])
	}
	return s
}

// hash returns the hash of a name by which directories are indexed: "half MD4" on
// signed characters, as of the kernel's fs/ext4/hash.c. The lowest bit is free:
// the index uses it.
func (s hashSeed) hash(name string) uint32 {
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if s != (hashSeed{}) {
		state = s
	}
	for rest := name; rest != ""; rest = rest[min(len(rest), 32):] {
		halfMD4(&state, hashWords(rest))
	}
	const end, last = 0xfffffffe, 0xfffffffc // end means the directory's end to readdir
	if h := state[1] &^ 1; h != end {
		return h
	}
	return last
}

// hashWords packs the first 32 bytes of a name. What is left over is filled with
// the length of the name.
func hashWords(name string) (words [8]uint32) {
	fill := uint32(len(name)) | uint32(len(name))<<8
	fill |= fill << 16
	for i := range words {
		words[i] = fill
		for j := 4 * i; j < min(len(name), 4*i+4); j++ {
			words[i] = words[i]<<8 + uint32(int32(int8(name[j])))
		}
	}
	return words
}

func halfMD4(state *[4]uint32, in [8]uint32) {
	type function func(x, y, z uint32) uint32
	a, b, c, d := state[0], state[1], state[2], state[3]
	round := func(f function, k uint32, order [8]int, shifts [4]int) {
		for i, at := range order {
			a = bits.RotateLeft32(a+f(b, c, d)+in[at]+k, shifts[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	round(func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19})
	round(func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13})
	round(func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15})
	state[0], state[1], state[2], state[3] = state[0]+a, state[1]+b, state[2]+c, state[3]+d
}
