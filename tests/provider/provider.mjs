// A certified OpenID Connect provider on a free port of the loopback; prints its issuer when it listens.
// It runs until its standard input closes.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const server = createServer();
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const people = {
  haneul: { name: "김하늘", address: { region: "부산광역시" }, groups: ["staff", "student"] },
  bada: { name: "<b>바다</b>\u202e", address: { region: "somewhere" }, groups: "none" },
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "modu",
      client_secret: "a secret / with + signs",
      redirect_uris: ["http://127.0.0.1/signin/main/callback"],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  claims: { openid: ["sub"], profile: ["name"], address: ["address"], groups: ["groups"] },
  scopes: ["openid", "profile", "address", "groups"],
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id, ...people[id] }) }),
  cookies: { keys: ["one of the tests"] },
  features: { devInteractions: { enabled: true } },
});
// the port of the service under test is another each time
provider.Client.prototype.redirectUriAllowed = (address) =>
  /^http:\/\/127\.0\.0\.1:\d+\/signin\/main\/callback$/.test(address);

server.on("request", provider.callback());
process.stdin.on("end", () => process.exit(0)).resume();
console.log(issuer);
