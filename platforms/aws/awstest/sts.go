package awstest

import (
	"net/http"
	"strings"
	"time"
)

// TokenCode is what the device for multi-factor authentication shows.
const TokenCode = "123456"

func (c *Cloud) callerIdentity(w http.ResponseWriter, call Call) {
	ok(w, call, element("GetCallerIdentityResult", element("Account", c.Number), element("Arn", "arn:aws:iam::"+c.Number+":user/builder")))
}

// assumeRole gives credentials of the account that a role belongs to. A role whose name
// ends with "mfa" wants the code of a device.
func (c *Cloud) assumeRole(w http.ResponseWriter, call Call) {
	arn := call.Form.Get("RoleArn")
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || strings.HasSuffix(arn, "mfa") && (call.Form.Get("SerialNumber") == "" || call.Form.Get("TokenCode") != TokenCode) {
		refuse(w, call, 403, "AccessDenied", "not authorized to perform: sts:AssumeRole on resource: %s", arn)
		return
	}
	ok(w, call, element("AssumeRoleResult", element("Credentials",
		element("AccessKeyId", parts[4]), element("SecretAccessKey", "secret"), element("SessionToken", "session"),
		element("Expiration", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))))
}
