// Validate an AsyncAPI document; prints every finding, exit status 1 if the document is not valid.
import fs from 'node:fs';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(fs.readFileSync(process.argv[2], 'utf8'));
const ERROR = 0;
for (const finding of diagnostics) {
  console.log(finding.severity, finding.code, finding.message, finding.path.join('.'));
}
process.exit(document && !diagnostics.some((finding) => finding.severity === ERROR) ? 0 : 1);
