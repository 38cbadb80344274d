package awstest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
)

// DisabledKey is a KMS key that cannot be used. All others of account 123456789012
// can.
const DisabledKey = "arn:aws:kms:eu-west-1:123456789012:key/disabled"

// keyARN returns the ARN of a key of the account that is called by its id, its ARN or an
// alias, and whether it is AWS's own. It is "" for a key of somebody else.
func (c *Cloud) keyARN(region, name string) (arn string, managed bool) {
	_, id, isARN := strings.Cut(name, ":"+c.Number+":")
	if !isARN {
		if strings.HasPrefix(name, "arn:") {
			return "", false
		}
		id = name
	}
	id = strings.TrimPrefix(id, "key/")
	if id == "alias/aws/ebs" || id == "aws-ebs" {
		id, managed = "aws-ebs", true
	}
	id = strings.ReplaceAll(id, "alias/", "of-alias-")
	return "arn:aws:kms:" + region + ":" + c.Number + ":key/" + id, managed
}

func (c *Cloud) describeKey(w http.ResponseWriter, call Call, body []byte) {
	var in struct{ KeyId string }
	err := json.Unmarshal(body, &in)
	arn, managed := c.keyARN(call.Region, in.KeyId)
	if err != nil || arn == "" {
		refuse(w, call, http.StatusBadRequest, "NotFoundException", "Invalid keyId %s", in.KeyId)
		return
	}
	state, manager := "Enabled", "CUSTOMER"
	if arn == DisabledKey {
		state = "Disabled"
	}
	if managed {
		manager = "AWS"
	}
	answer(w, http.StatusOK, map[string]any{"KeyMetadata": map[string]any{
		"KeyId": in.KeyId, "Arn": arn, "KeyState": state, "KeyManager": manager, "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT",
	}})
}

// encrypts returns how something new is encrypted, as it is asked for.
func (c *Cloud) encrypts(region string, asked bool, key string) (encrypted bool, arn string) {
	if !asked && !c.EncryptByDefault {
		return false, ""
	}
	arn, _ = c.keyARN(region, cmp.Or(key, c.DefaultKey, "alias/aws/ebs"))
	return true, arn
}

func (c *Cloud) encryptionByDefault(w http.ResponseWriter, call Call) {
	on := "false"
	if c.EncryptByDefault {
		on = "true"
	}
	ok(w, call, element("ebsEncryptionByDefault", on))
}

func (c *Cloud) defaultKey(w http.ResponseWriter, call Call) {
	ok(w, call, element("kmsKeyId", cmp.Or(c.DefaultKey, "alias/aws/ebs")))
}

func (c *Cloud) imageBlock(w http.ResponseWriter, call Call) {
	state := "unblocked"
	if c.BlockPublic {
		state = "block-new-sharing"
	}
	ok(w, call, element("imageBlockPublicAccessState", state))
}

func (c *Cloud) snapshotBlock(w http.ResponseWriter, call Call) {
	state := "unblocked"
	if c.BlockPublic {
		state = "block-all-sharing"
	}
	ok(w, call, element("state", state))
}
