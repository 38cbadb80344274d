# Makes, in the directory $1, an archive of packages with one package, and archives of
# files.
set -eu
mkdir -p "$1/debian" "$1/pkg/DEBIAN" "$1/pkg/usr/bin" "$1/top/bin" "$1/top/sbin"
cd "$1"
printf 'Package: bake-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: hello\n' >pkg/DEBIAN/control
echo '#!/bin/sh' >pkg/usr/bin/bake-hello
chmod 755 pkg/usr/bin/bake-hello
deb=bake-hello_1.0_all.deb
dpkg-deb --root-owner-group --build pkg debian/$deb >/dev/null
cd debian
{
	cat ../pkg/DEBIAN/control
	echo "Filename: ./$deb"
	echo "Size: $(stat -c %s $deb)"
	echo "SHA256: $(sha256sum <$deb | cut -d ' ' -f 1)"
} >Packages
printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" "$(sha256sum <Packages | cut -d ' ' -f 1)" "$(stat -c %s Packages)" >Release
export GNUPGHOME="$1/gpg"
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key t@example.org ed25519 sign never
gpg --batch --clearsign -o InRelease Release
gpg --batch --armor --export >../repo.asc
gpgconf --kill all
cd ..
echo '#!/bin/sh' >top/bin/tool
chmod 755 top/bin/tool
for file in bin/x sbin/s other; do
	echo "$file" >top/$file
done
tar --zstd -cf files.tar.zst top
bsdtar -a -cf files.zip top
