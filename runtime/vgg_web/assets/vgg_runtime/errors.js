/** The errors that vgg_runtime.js raises on purpose, named as in Python's vgg_runtime. */

/** The root of the tree: `message` says what is wrong and what is accepted, `hint` what to do next. */
export class VggDeployError extends Error {
  constructor(message, hint = "") {
    super(message);
    this.name = this.constructor.name;
    this.hint = hint;
  }
}

/** The call itself is wrong. */
export class UsageError extends VggDeployError {}

/** A bundle was refused. */
export class BundleError extends VggDeployError {}

/** An image was refused. */
export class ImageError extends VggDeployError {}

/** Two things that must agree differ, or outputs are not finite. */
export class VerificationError extends VggDeployError {}

/** A file differs from the checksum in the manifest. */
export class ChecksumError extends VerificationError {}

/** The outputs here differ from the golden outputs by more than the tolerance. */
export class SelfTestError extends VerificationError {}

/** What runs this lacks something that was asked for. */
export class MissingCapabilityError extends VggDeployError {}
