package aws

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// An encryption is how what is made in a region is encrypted, by what the definition
// says and by the account's settings, which change.
type encryption struct {
	on      bool
	key     string // its ARN; "" where it is not known
	managed bool   // the key is AWS's, and nobody else can use it
	unknown bool   // these credentials may not ask for the account's settings
}

// is reports whether a snapshot is encrypted so, as far as that is known.
func (e encryption) is(encrypted bool, key string) bool {
	return encrypted == e.on && (!e.on || e.key == "" || key == e.key)
}

// encryption returns that of the image in a region.
func (j *job) encryption(ctx context.Context, region string) (e encryption, err error) {
	if name := j.o.KMSKeys[region]; name != "" {
		key, err := j.d.kmsKey(ctx, region, name)
		if err != nil {
			return e, err
		}
		return encryption{on: true, key: aws.ToString(key.Arn), managed: key.KeyManager == kmstypes.KeyManagerTypeAws}, nil
	}
	e.on = j.o.Encrypted || len(j.o.KMSKeys) > 0
	c, err := j.d.clients.ec2(ctx, region)
	if err != nil {
		return e, err
	}
	byDefault, err := c.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
	if err == nil && (e.on || aws.ToBool(byDefault.EbsEncryptionByDefault)) {
		var out *ec2.GetEbsDefaultKmsKeyIdOutput
		if out, err = c.GetEbsDefaultKmsKeyId(ctx, &ec2.GetEbsDefaultKmsKeyIdInput{}); err == nil {
			e.on = true
			return e, j.d.describe(ctx, region, aws.ToString(out.KmsKeyId), &e)
		}
	}
	if denied(err) || hasCode(err, "InvalidAction", "NotImplemented") {
		e.unknown = true
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("%s: find out how volumes are encrypted: %w", region, err)
	}
	return e, nil
}

// describe fills in the account's default key. Who may not look at it does without.
func (d *driver) describe(ctx context.Context, region, name string, e *encryption) error {
	key, err := d.kmsKey(ctx, region, name)
	if denied(err) {
		e.unknown = true
		return nil
	} else if hasCode(err, "NotFoundException") {
		e.managed = true // AWS makes its own key when the first volume is encrypted
		return nil
	} else if err != nil {
		return err
	}
	e.key, e.managed = aws.ToString(key.Arn), key.KeyManager == kmstypes.KeyManagerTypeAws
	return nil
}

// kmsKey returns what is known of a key, called by its id, its ARN or an alias.
func (d *driver) kmsKey(ctx context.Context, region, name string) (*kmstypes.KeyMetadata, error) {
	c, err := d.clients.kms(ctx, region)
	if err != nil {
		return nil, err
	}
	out, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(name)})
	if err != nil {
		return nil, fmt.Errorf("%s: look at the key %s: %w", region, name, err)
	}
	return out.KeyMetadata, nil
}

// checkKey fails when a KMS key cannot be used. "" is no key.
func (d *driver) checkKey(ctx context.Context, region, name string) error {
	if name == "" {
		return nil
	}
	k, err := d.kmsKey(ctx, region, name)
	if err != nil {
		return err
	}
	switch {
	case k.KeyState != kmstypes.KeyStateEnabled:
		return fmt.Errorf("%s: the key %s cannot be used: it is in the state %s", region, name, k.KeyState)
	case k.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt || k.KeySpec != kmstypes.KeySpecSymmetricDefault:
		return fmt.Errorf("%s: the key %s is not for encryption by EBS: that takes symmetric keys", region, name)
	}
	return nil
}

// checkSharing fails where AWS will not let others have the image or its snapshots.
func (j *job) checkSharing(ctx context.Context, region string) error {
	others := slices.Concat(j.o.ShareWith, j.o.SnapshotUsers, j.o.CopyTo)
	if !j.o.Public && len(others) == 0 {
		return nil
	}
	e, err := j.encryption(ctx, region)
	switch {
	case err != nil:
		return err
	case e.on && j.o.Public:
		return fmt.Errorf("public: %s: the account encrypts all volumes by default, and an encrypted image cannot be public", region)
	case e.on && slices.Contains(j.o.SnapshotUsers, everybody):
		return fmt.Errorf("snapshot_users: %s: the account encrypts all volumes by default, and an encrypted snapshot cannot be everybody's", region)
	case e.on && e.managed:
		return fmt.Errorf("%s: what the key %s of AWS encrypts cannot be shared with others: give a key of your own with kms_keys, and let them use it", region, awsKey)
	}
	c, err := j.d.clients.ec2(ctx, region)
	if err != nil {
		return err
	}
	if j.o.Public {
		out, err := c.GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{})
		if err == nil && aws.ToString(out.ImageBlockPublicAccessState) == string(types.ImageBlockPublicAccessEnabledStateBlockNewSharing) {
			return fmt.Errorf("public: %s: the account blocks public access to images: an administrator turns that off with aws ec2 disable-image-block-public-access", region)
		} else if err != nil && !denied(err) {
			return fmt.Errorf("%s: find out whether images can be public: %w", region, err)
		}
	}
	if slices.Contains(j.o.SnapshotUsers, everybody) {
		out, err := c.GetSnapshotBlockPublicAccessState(ctx, &ec2.GetSnapshotBlockPublicAccessStateInput{})
		if err == nil && out.State != types.SnapshotBlockPublicAccessStateUnblocked {
			return fmt.Errorf("snapshot_users: %s: the account blocks public access to snapshots", region)
		} else if err != nil && !denied(err) {
			return fmt.Errorf("%s: find out whether snapshots can be public: %w", region, err)
		}
	}
	return nil
}

// awsKey is the key that EBS uses where nothing else is said.
const awsKey = "alias/aws/ebs"
